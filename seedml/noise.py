"""Seed -> noise. The only file that makes a ``torch.Generator`` or sets torch's global one.

A seed's noise is drawn in float32 by a generator of its own, on the CPU unless told otherwise, and is then cast and
moved by whoever uses it. After the initial noise the same generator gives every later draw of that image, as in plain
diffusers: ``pipeline(prompt, generator=torch.Generator("cpu").manual_seed(seed))``. (DESIGN section 6)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from seedml.config import NoiseConfig
from seedml.seed_list import check_seed as check_seed

Shape = tuple[int, int, int]
"""C, H, W of one image's latent."""


def generator(seed: int, device: str | torch.device = "cpu") -> torch.Generator:
    """A new generator in the state that ``seed`` gives it.

    Raises:
        UserError: the seed is no integer 0 … 2^63-1.

    """
    return torch.Generator(device).manual_seed(check_seed(seed))


def _draw(source: torch.Generator, shape: Shape) -> torch.Tensor:
    """1×C×H×W float32, standard normal, on the generator's device; diffusers draws each image in this shape."""
    return torch.randn((1, *shape), generator=source, device=source.device, dtype=torch.float32)


def initial_noise(
    seeds: Sequence[int], shape: Shape, device: str | torch.device = "cpu"
) -> tuple[torch.Tensor, list[torch.Generator]]:
    """The initial noise of one image a seed, and the generators that have just drawn it.

    Args:
        seeds: one a row.
        shape: C, H, W of one image's latent.
        device: where to draw; ``cpu`` gives the same numbers on every machine.

    Returns:
        N×C×H×W float32 on ``device``, standard normal (not yet scaled by the scheduler's ``init_noise_sigma``), and N
        generators, in the state in which plain diffusers starts sampling.

    """
    generators = [generator(seed, device) for seed in seeds]
    return torch.cat([_draw(source, shape) for source in generators]), generators


def cell_noise(seeds: Sequence[int], shape: Shape, config: NoiseConfig) -> tuple[torch.Tensor, list[torch.Generator]]:
    """:func:`initial_noise` of cells, where a study may fix the seed of the initial noise or of the later draws.

    With ``initial_seed`` every row starts from that seed's noise; with ``step_seed`` every row's later draws are those
    of that seed. A generator that gives only the later draws has had its own initial draw discarded, so that the
    later draws of a seed are the same whatever the initial noise was.
    """
    first = [seed if config.initial_seed is None else config.initial_seed for seed in seeds]
    later = [seed if config.step_seed is None else config.step_seed for seed in seeds]
    noise, generators = initial_noise(first, shape, config.generator_device)
    if later == first:
        return noise, generators
    return noise, initial_noise(later, shape, config.generator_device)[1]


def noise_sha256(noise: torch.Tensor) -> str:
    """Hex SHA-256 of one image's initial noise: C×H×W float32, little-endian, row by row."""
    assert noise.dtype == torch.float32, f"the noise is drawn and recorded in float32, not {noise.dtype}"
    assert noise.ndim == 3, f"one image's C×H×W wanted, not {tuple(noise.shape)}"
    return hashlib.sha256(noise.detach().cpu().contiguous().numpy().astype("<f4").tobytes()).hexdigest()


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Run a block with torch's global generators in the state of ``seed``, then put their old states back.

    For what takes no generator: initial weights, dropout.
    """
    with torch.random.fork_rng():
        torch.manual_seed(check_seed(seed))
        yield
