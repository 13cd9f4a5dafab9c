"""Image batch -> numbers that a person can read, one file an attribute.

An attribute ``<name>`` is the file ``<name>.py`` with an object ``ATTRIBUTE``; the configuration names it in
``measure.attributes``. Nothing else has to know of it. All are pure batched tensor code on the images' device, and need
no download. A file may also have a function ``with_network(name_or_path) -> Attribute``: the same columns from a
network of the hub or of a local folder, which the configuration names in ``measure.networks``.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from seedml.errors import unknown_name

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seedml.models.bundled.parser import SceneReading


@dataclass(frozen=True)
class AttributeBatch:
    """What attributes are measured on: N images with their prompts.

    Attributes:
        images: ``N × 3 × H × W`` uint8 0..255.
        prompts: N texts.
        reading: what the scene parser read in the images, shared by all attributes; ``None`` where it did not run.

    """

    images: Tensor
    prompts: Sequence[str]
    reading: SceneReading | None = None

    def unknown(self) -> Tensor:
        """``N`` NaN: what an attribute answers that cannot be measured on these images."""
        return torch.full((len(self.images),), torch.nan, device=self.images.device)


@dataclass(frozen=True)
class Attribute:
    """A measurement on each image of a batch.

    Attributes:
        columns: names of the numbers it gives: ``<name>`` or ``<name>_<part>``.
        measure: batch -> for each column ``N`` float; NaN where the image does not tell.
        shares: those of its columns that are 0 or 1, so that a seed has a share of them.
        needs_reading: whether the scene parser has to run.
        version: raise it when numbers change: only attributes with a new version are measured again. With a network
            it names its weights too.
        network: what ``measure`` computes with, so that it can be moved to the device; ``None`` = nothing.

    """

    columns: tuple[str, ...]
    measure: Callable[[AttributeBatch], Mapping[str, Tensor]]
    shares: tuple[str, ...] = ()
    needs_reading: bool = False
    version: str = "1"
    network: nn.Module | None = None


def attribute_names() -> list[str]:
    """The attributes there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load_attributes(names: Sequence[str], networks: Mapping[str, str] | None = None) -> dict[str, Attribute]:
    """The attributes of these names, in this order.

    Args:
        names: which.
        networks: attribute -> hub id or folder of the network that is to measure it; the others need none.

    Raises:
        UserError: there is none of that name, lists the known; a network is named for an attribute that takes none or
            is not measured, or cannot be loaded.

    """
    for name in names:
        if name not in attribute_names():
            raise unknown_name("attribute (measure.attributes)", name, attribute_names())
    files = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    chosen = dict(networks or {})
    able = [name for name, file in files.items() if hasattr(file, "with_network")]
    for name in chosen:
        if name not in able:
            raise unknown_name("attribute (measure.networks) among those measured that take a network", name, able)
    return {name: file.with_network(chosen[name]) if name in chosen else file.ATTRIBUTE for name, file in files.items()}


def share_columns(attributes: Mapping[str, Attribute]) -> frozenset[str]:
    """All columns that are 0 or 1."""
    return frozenset(column for attribute in attributes.values() for column in attribute.shares)


def measure_attributes(attributes: Mapping[str, Attribute], batch: AttributeBatch) -> dict[str, Tensor]:
    """All columns of a batch, ``N`` float32 each, in the attributes' order."""
    columns: dict[str, Tensor] = {}
    for name, attribute in attributes.items():
        measured = attribute.measure(batch)
        assert tuple(measured) == attribute.columns, f"attribute {name} gave other columns than it declares"
        for column, values in measured.items():
            assert values.shape == (len(batch.images),), f"attribute {name}: one number an image, column {column}"
            columns[column] = values.float()
    return columns
