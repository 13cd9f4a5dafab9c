"""FID as Heusel et al. 2017 define it: Inception with TensorFlow's resizing, as torch-fidelity computes it."""

from __future__ import annotations

from seedml.networks.inception import TENSORFLOW, InceptionFeatures
from seedml.networks.inception import WEIGHTS as WEIGHTS


def with_network(given: str) -> InceptionFeatures:
    """The network with these weights; see :class:`~seedml.networks.inception.InceptionFeatures`."""
    return InceptionFeatures("inception", given, TENSORFLOW)
