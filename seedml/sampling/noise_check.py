"""Does every card's noise come out again on this machine, and if not, what is different?

A card's hash is of bytes alone. So it tells a noise of another number of values, but not a shape of as many values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import product
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from seedml.config import NoiseConfig
from seedml.noise import cell_noise, generator, noise_sha256
from seedml.progress import track
from seedml.seedbook import SeedBook, SeedCard

_CHANNELS, _LARGEST = (3, 4, 8, 12, 16, 32, 64, 128), 256
"""Shapes that are tried where a hash does not fit: so many channels, sides of 8, 16, … up to that."""
_MOST_VALUES = 16 * 128 * 128
_PREFIX = 16
"""Torch's CPU generator fills normal numbers 16 at a time: up to a multiple of that, a longer draw begins like a
shorter one."""
_DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}


class Mismatch(NamedTuple):
    """A card whose noise did not come out."""

    seed: int
    reason: str
    """Which of generator device, shape, dtype, seed or library differs, as far as can be told."""


def mismatches(book: SeedBook) -> list[Mismatch]:
    """The cards whose noise is another one here, each with the reason."""
    initial = None if book.recipe is None else book.recipe.initial_seed
    by_hash = {card.noise_sha256: card.seed for card in book.cards}
    found = []
    for card in track(book.cards, "verify", unit="seeds"):
        if not can_draw(card.generator_device) or _hash(card, initial) != card.noise_sha256:
            found.append(Mismatch(card.seed, _reason(card, initial, by_hash)))
    return found


def can_draw(device: str) -> bool:
    """Whether there is such a generator on this machine."""
    return device == "cpu" or (device == "cuda" and torch.cuda.is_available())


def _hash(card: SeedCard, initial: int | None, device: str | None = None) -> str:
    settings = NoiseConfig(generator_device=device or card.generator_device, initial_seed=initial)
    channels, height, width = card.latent_shape
    return noise_sha256(cell_noise([card.seed], (channels, height, width), settings)[0][0])


def _reason(card: SeedCard, initial: int | None, by_hash: Mapping[str, int]) -> str:
    """What makes this noise come out, in the order of what is likeliest; else the library, if it is another."""
    seed = card.seed if initial is None else initial
    other = {"cpu": "cuda", "cuda": "cpu"}.get(card.generator_device, "cpu")
    if can_draw(other) and _hash(card, initial, other) == card.noise_sha256:
        return f"generator device: the noise is one of {other}, and the card says {card.generator_device}"
    if not can_draw(card.generator_device):
        return f"generator device: drawn on {card.generator_device}, which is not here: cannot be checked"
    if (dtype := _dtype_of(card, seed)) is not None:
        return f"dtype: drawn in {dtype}, not in float32"
    if (count := _values_of(card.noise_sha256, seed)) is not None:
        return f"shape: the noise has {count} values{_such_as(count)}, and the card says {_text(card.latent_shape)}"
    own = _hash(card, initial)
    if own in by_hash:
        return f"seed: the card has the noise of another seed; this seed's is on the card of {by_hash[own]}"
    return _library(card)


def _library(card: SeedCard) -> str:
    here = torch.__version__.partition("+")[0]
    if card.torch_version is None or card.torch_version.partition("+")[0] == here:
        return f"none of generator device, shape and dtype explains it, and torch {here} is the same: the hash is wrong"
    return f"library: drawn by torch {card.torch_version}, here is {here}; no other device, shape or dtype explains it"


def _dtype_of(card: SeedCard, seed: int) -> str | None:
    """The type in which a draw gives the card's hash, as it is or as float32."""
    shape = (1, *card.latent_shape)
    for name, dtype in _DTYPES.items():
        source = generator(seed, card.generator_device)
        drawn = torch.randn(shape, generator=source, device=source.device, dtype=dtype)[0].cpu()
        if card.noise_sha256 in (noise_sha256(drawn.float()), _raw_hash(drawn)):
            return name
    return None


def _raw_hash(noise: Tensor) -> str:
    return hashlib.sha256(noise.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def _values_of(wanted: str, seed: int) -> int | None:
    """How many values of the CPU's draw give the hash; ``None`` where no number does."""
    drawn = torch.randn(_MOST_VALUES, generator=generator(seed), dtype=torch.float32).numpy().astype("<f4")
    digest, before = hashlib.sha256(), 0
    for count in range(_PREFIX, _MOST_VALUES + 1, _PREFIX):
        digest.update(drawn[before:count].tobytes())
        before = count
        if digest.copy().hexdigest() == wanted:
            return count
    return None


def _such_as(count: int) -> str:
    """A shape of latents with so many values: the squarest, with the fewest channels."""
    shapes = sorted(_shapes(count), key=lambda shape: (abs(shape[1] - shape[2]), shape[0]))
    return f", such as {_text(shapes[0])}" if shapes else ""


def _shapes(count: int) -> Iterator[tuple[int, int, int]]:
    sides = range(8, _LARGEST + 1, 8)
    yield from (shape for shape in product(_CHANNELS, sides, sides) if prod(shape) == count)


def _text(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))
