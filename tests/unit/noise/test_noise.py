"""Seed -> noise: what plain diffusers draws, for every row."""

from __future__ import annotations

import ast
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor

import seedml
from seedml.config import NoiseConfig
from seedml.errors import UserError
from seedml.noise import cell_noise, generator, initial_noise, noise_sha256, seeded

SHAPE = (4, 16, 16)
SEEDS = [469, 0, 696, 2**63 - 1, 12]


def plain(seed: int) -> tuple[torch.Tensor, torch.Generator]:
    """The initial noise and the generator after it, as plain diffusers makes them at batch size 1."""
    source = torch.Generator("cpu").manual_seed(seed)
    return randn_tensor((1, *SHAPE), generator=source, device=torch.device("cpu"), dtype=torch.float32)[0], source


def later(source: torch.Generator) -> torch.Tensor:
    return torch.randn(3, 5, generator=source)


def test_every_row_is_what_diffusers_draws_alone_and_after() -> None:
    noise, generators = initial_noise(SEEDS, SHAPE)
    assert noise.shape == (5, *SHAPE)
    assert noise.dtype == torch.float32
    for seed, row, source in zip(SEEDS, noise, generators, strict=True):
        alone, after = plain(seed)
        assert torch.equal(row, alone)
        assert torch.equal(source.get_state(), after.get_state())
        assert torch.equal(later(source), later(after))


def test_every_row_is_what_diffusers_draws_from_a_list_of_generators() -> None:
    batch = randn_tensor((5, *SHAPE), generator=[torch.Generator().manual_seed(s) for s in SEEDS])
    assert torch.equal(initial_noise(SEEDS, SHAPE)[0], batch)


def test_a_known_value() -> None:
    """The noise of seed 0: should this fail, no study made before can be remade."""
    assert noise_sha256(initial_noise([0], SHAPE)[0][0]) == SEED_0


SEED_0 = "443a9fa4ffb0e2221dbc5b56bec0b8ccb4510a8a94a903e8321dfa3b2d99d55b"


def test_rows_do_not_depend_on_their_companions() -> None:
    together = initial_noise(SEEDS, SHAPE)[0]
    for i, seed in enumerate(SEEDS):
        assert torch.equal(initial_noise([seed], SHAPE)[0][0], together[i])
    assert torch.equal(initial_noise(SEEDS[::-1], SHAPE)[0], together.flip(0))


def test_one_seed_may_be_in_many_rows() -> None:
    noise, generators = initial_noise([7, 7], SHAPE)
    assert torch.equal(noise[0], noise[1])
    assert torch.equal(later(generators[0]), later(generators[1]))  # each row has a generator of its own


def test_without_fixed_seeds_a_cell_is_a_plain_image() -> None:
    noise, generators = cell_noise(SEEDS, SHAPE, NoiseConfig())
    wanted, after = initial_noise(SEEDS, SHAPE)
    assert torch.equal(noise, wanted)
    assert all(torch.equal(later(a), later(b)) for a, b in zip(generators, after, strict=True))


def test_fixed_initial_seed() -> None:
    noise, generators = cell_noise(SEEDS, SHAPE, NoiseConfig(initial_seed=5))
    for seed, row, source in zip(SEEDS, noise, generators, strict=True):
        assert torch.equal(row, plain(5)[0])
        assert torch.equal(later(source), later(plain(seed)[1]))


def test_fixed_step_seed() -> None:
    noise, generators = cell_noise(SEEDS, SHAPE, NoiseConfig(step_seed=5))
    for seed, row, source in zip(SEEDS, noise, generators, strict=True):
        assert torch.equal(row, plain(seed)[0])
        assert torch.equal(later(source), later(plain(5)[1]))


@pytest.mark.parametrize(("initial", "step"), [(5, 6), (5, 5)])
def test_both_fixed(initial: int, step: int) -> None:
    noise, generators = cell_noise(SEEDS, SHAPE, NoiseConfig(initial_seed=initial, step_seed=step))
    assert len({id(source) for source in generators}) == len(SEEDS)
    for row, source in zip(noise, generators, strict=True):
        assert torch.equal(row, plain(initial)[0])
        assert torch.equal(later(source), later(plain(step)[1]))


def test_a_row_whose_seed_is_the_fixed_one_is_the_plain_image() -> None:
    for config in (NoiseConfig(initial_seed=0), NoiseConfig(step_seed=0)):
        noise, generators = cell_noise([469, 0], SHAPE, config)
        wanted, after = plain(0)
        assert torch.equal(noise[1], wanted)
        assert torch.equal(later(generators[1]), later(after))


def test_hash_is_that_of_the_float32_bytes() -> None:
    noise = initial_noise([3], SHAPE)[0][0]
    values = np.asarray(noise.tolist(), dtype="<f4")
    assert noise_sha256(noise) == hashlib.sha256(values.tobytes()).hexdigest()
    assert noise_sha256(noise.transpose(1, 2).contiguous().transpose(1, 2)) == noise_sha256(noise)
    with pytest.raises(AssertionError, match="float32"):
        noise_sha256(noise.half())


def test_noise_is_standard_normal_and_differs_by_seed() -> None:
    noise = initial_noise(range(64), SHAPE)[0]
    assert abs(float(noise.mean())) < 4 / noise.numel() ** 0.5
    assert abs(float(noise.var()) - 1) < 4 * (2 / noise.numel()) ** 0.5
    correlation = torch.corrcoef(noise.flatten(1)) - torch.eye(64)
    assert float(correlation.abs().max()) < 6 / (4 * 16 * 16) ** 0.5


@pytest.mark.parametrize("seed", [-1, 2**63, 1.0, True, None])
def test_illegal_seeds(seed: object) -> None:
    with pytest.raises(UserError, match="seed"):
        generator(seed)  # type: ignore[arg-type]


def test_seeded_is_reproducible_and_leaves_no_trace() -> None:
    before = torch.get_rng_state()
    with seeded(3):
        first = torch.randn(4)
    with seeded(3):
        again = torch.randn(4)
    assert torch.equal(first, again)
    assert torch.equal(torch.get_rng_state(), before)


def test_global_generator_plays_no_part() -> None:
    before = torch.get_rng_state()
    cell_noise(SEEDS, SHAPE, NoiseConfig(initial_seed=1, step_seed=2))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
def test_cuda_generator_draws_on_the_device() -> None:
    noise, generators = cell_noise(SEEDS, SHAPE, NoiseConfig(generator_device="cuda"))
    assert noise.is_cuda
    for seed, row, source in zip(SEEDS, noise, generators, strict=True):
        after = torch.Generator("cuda").manual_seed(seed)
        alone = randn_tensor((1, *SHAPE), generator=after, device=torch.device("cuda"), dtype=torch.float32)[0]
        assert torch.equal(row, alone)
        assert torch.equal(
            torch.randn(9, generator=source, device="cuda"), torch.randn(9, generator=after, device="cuda")
        )
        assert not torch.equal(row.cpu(), plain(seed)[0])


def test_nobody_else_makes_generators() -> None:
    forbidden = {"manual_seed", "manual_seed_all", "seed_everything", "torch.Generator", "random.seed"}
    for path in Path(seedml.__file__).parent.rglob("*.py"):
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        called = {ast.unparse(call.func) for call in calls}
        called |= {name.rpartition(".")[2] for name in called}
        assert path.name == "noise.py" or not called & forbidden, path
