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
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch.nn.functional import adaptive_avg_pool2d

from seedml.colour import luma, srgb_to_lab
from seedml.errors import unknown_name
from seedml.foreground import foreground

if TYPE_CHECKING:
    from torch import Tensor, nn

    from seedml.models.bundled.parser import SceneReading

COARSE = 32
"""Side in pixels of the coarse picture that all questions of colour and light are asked of."""


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

    def __post_init__(self) -> None:
        shape, dtype = tuple(self.images.shape), self.images.dtype
        if dtype != torch.uint8 or len(shape) != 4 or shape[1] != 3 or 0 in shape[2:]:
            raise ValueError(f"attributes are measured on N × 3 × H × W uint8 images; given: {shape} {dtype}")

    def unknown(self) -> Tensor:
        """``N`` NaN: what an attribute answers that cannot be measured on these images."""
        return torch.full((len(self.images),), torch.nan, device=self.images.device)

    @cached_property
    def coarse(self) -> Tensor:
        """``N × 3 × h × w`` float32, sRGB 0..255: the pictures averaged to :data:`COARSE` pixels a side at most.

        So a decoder's grain is no colour, and numbers do not depend on the resolution. Averages are of sRGB levels.
        """
        side = (min(COARSE, self.images.shape[2]), min(COARSE, self.images.shape[3]))
        return adaptive_avg_pool2d(self.images.float(), side)

    @cached_property
    def lab(self) -> Tensor:
        """``N × 3 × h × w`` float32: the coarse picture in CIELAB, L* 0..100, a* and b* about -110..110."""
        return srgb_to_lab(self.coarse)

    @cached_property
    def luma(self) -> Tensor:
        """``N × H × W`` float32, 0..255: the pictures in gray (ITU-R BT.601), of full size."""
        return luma(self.images)

    @cached_property
    def foreground(self) -> tuple[Tensor, Tensor]:
        """What stands out, and whether anything does: ``N × h × w`` float32 0 or 1, and ``N`` bool."""
        return foreground(self.images)


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
