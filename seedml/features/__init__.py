"""Image batch -> vectors that only a statistic can read, one file a network.

A network ``<name>`` is the file ``<name>.py`` with a class ``Network``; the configuration names it. Two statistics may
only be compared when network, resize rule and dimension are the same, so these travel with every number.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Protocol

from seedml.errors import unknown_name

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from seedml.models.bundled.parser import SceneReading


class FeatureNetwork(Protocol):
    """What a feature network says of itself, and does."""

    name: str
    """The file's name."""
    dimension: int
    """Length of a vector."""
    resize: str
    """How images of another size are brought to the network's, in words."""
    needs_reading: bool
    """Whether it takes its vectors from the scene parser's reading."""

    def to(self, device: torch.device) -> FeatureNetwork:
        """Move the weights; returns the network."""
        ...

    def __call__(self, images: Tensor, reading: SceneReading | None) -> Tensor:
        """``N × 3 × H × W`` uint8 0..255 (and what the scene parser read in them) -> ``N × D`` float32."""
        ...


def network_names() -> list[str]:
    """The networks there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_network(name: str) -> FeatureNetwork:
    """The network ``name``, on the CPU, in evaluation mode.

    Raises:
        UserError: there is none of this name; lists the known.

    """
    if name not in network_names():
        raise unknown_name("feature network (measure.features)", name, network_names())
    network: FeatureNetwork = importlib.import_module(f"{__name__}.{name}").Network()
    return network
