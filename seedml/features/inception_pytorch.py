"""FID with PyTorch's resizing, as pytorch-fid computes it; takes pytorch-fid's statistics files."""

from __future__ import annotations

from seedml.networks.inception import PYTORCH, InceptionFeatures
from seedml.networks.inception import WEIGHTS as WEIGHTS


def with_network(given: str) -> InceptionFeatures:
    """The network with these weights; see :class:`~seedml.networks.inception.InceptionFeatures`."""
    return InceptionFeatures("inception_pytorch", given, PYTORCH)
