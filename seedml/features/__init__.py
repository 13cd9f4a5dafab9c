"""Image batch -> vectors that only a statistic can read, one file a network.

A network ``<name>`` is the file ``<name>.py`` with a class ``Network``, or, where it needs weights of others, with a
function ``with_network(weights)``; the configuration names it and, in ``measure.networks``, its weights. Two statistics
may only be compared when network, weights, resize rule and dimension are the same, so these travel with every number.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Protocol

from seedml.errors import UserError, unknown_name

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
    version: str
    """Raise it when vectors change; with weights of a user's it names them too."""

    def to(self, device: torch.device) -> FeatureNetwork:
        """Move the weights; returns the network."""
        ...

    def __call__(self, images: Tensor, reading: SceneReading | None) -> Tensor:
        """``N × 3 × H × W`` uint8 0..255 (and what the scene parser read in them) -> ``N × D`` float32."""
        ...


def weights_of(network: FeatureNetwork) -> str:
    """What names a network's weights, its ``weights``: a hash, or the hub's commit. Empty where it brings its own."""
    return str(getattr(network, "weights", ""))


def network_names() -> list[str]:
    """The networks there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_network(name: str, weights: str | None = None, key: str = "measure.features") -> FeatureNetwork:
    """The network ``name``, on the CPU, in evaluation mode.

    Args:
        name: which.
        weights: hub id, folder or file of the network that is to give the vectors; some files need one, few may do with
            or without.
        key: the configuration key that named it.

    Raises:
        UserError: there is none of this name, lists the known; it takes no weights, needs some, or these cannot be
            loaded.

    """
    if name not in network_names():
        raise unknown_name(f"feature network ({key})", name, network_names())
    file = importlib.import_module(f"{__name__}.{name}")
    if weights is not None and not hasattr(file, "with_network"):
        raise UserError(f"measure.networks: {name} takes no network", given=weights, remedy="leave it out")
    if weights is None and not hasattr(file, "Network"):
        raise UserError(f"{key}: {name} needs weights", legal=file.WEIGHTS, remedy=f"set measure.networks.{name}=…")
    network: FeatureNetwork = file.Network() if weights is None else file.with_network(weights)
    return network
