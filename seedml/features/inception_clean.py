"""FID with clean resizing (Parmar, Zhang & Zhu 2022), as clean-fid computes it; takes clean-fid's statistics files."""

from __future__ import annotations

from seedml.networks.inception import CLEAN, InceptionFeatures
from seedml.networks.inception import WEIGHTS as WEIGHTS


def with_network(given: str) -> InceptionFeatures:
    """The network with these weights; see :class:`~seedml.networks.inception.InceptionFeatures`."""
    return InceptionFeatures("inception_clean", given, CLEAN)
