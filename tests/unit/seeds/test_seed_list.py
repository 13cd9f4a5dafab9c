"""Seeds as text: every legal spelling gives the seeds that a person would say, every other is refused."""

from __future__ import annotations

import random

import pytest
import torch

from seedml.errors import UserError
from seedml.seed_list import MAX_SEED, check_distinct_noise, check_seed, format_seeds, parse_seeds


@pytest.mark.parametrize(
    ("given", "seeds"),
    [
        ("0:4", (0, 1, 2, 3)),
        ("7", (7,)),
        (7, (7,)),
        ([3, 7, 469], (3, 7, 469)),
        ("[3,7,469]", (3, 7, 469)),
        ("[ 3, 7 ,469 ]", (3, 7, 469)),
        ("0:4,10,20:22", (0, 1, 2, 3, 10, 20, 21)),
        ("0:2,[9,5]", (0, 1, 5, 9)),
        (["0:2", 9, "5"], (0, 1, 5, 9)),
        ((2, 1), (1, 2)),
        ("012", (12,)),
        (MAX_SEED, (MAX_SEED,)),
        (f"{MAX_SEED - 1}:{MAX_SEED + 1}", (MAX_SEED - 1, MAX_SEED)),
    ],
)
def test_known_spellings(given: object, seeds: tuple[int, ...]) -> None:
    assert parse_seeds(given) == seeds


@pytest.mark.parametrize(
    ("given", "part_of_message"),
    [
        (-1, "-1"),
        ("-1", "out of range"),
        (MAX_SEED + 1, "9223372036854775808"),
        (f"0:{MAX_SEED + 2}", "out of range"),
        (str(MAX_SEED + 1), "out of range"),
        ("5:5", "empty range"),
        ("64:0", "empty range"),
        ("", "cannot be read"),
        ("a", "cannot be read"),
        ("9" * 5000, "cannot be read"),
        ("0-64", "cannot be read"),
        ("0:64:2", "cannot be read"),
        ("1.5", "cannot be read"),
        ("1e3", "cannot be read"),
        (1.0, "1.0"),
        (True, "True"),
        (None, "no legal seed"),
        ([], "names no seed"),
        ("0:4,2", "seed 2 twice"),
        ([469, 3, 469], "seed 469 twice"),
        ("0:4,3:5", "seed 3 twice"),
        ("0:64000000", "64000000 seeds"),
        ({"a": 1}, "no legal seed"),
    ],
)
def test_refused(given: object, part_of_message: str) -> None:
    with pytest.raises(UserError) as error:
        parse_seeds(given, "noise.seeds")
    message = str(error.value)
    assert part_of_message in message
    assert "noise.seeds" in message
    assert "remedy: " in message
    assert "\n" not in message


def test_formatting_is_the_inverse_of_parsing() -> None:
    for trial in range(200):
        source = random.Random(trial)
        seeds = tuple(sorted(source.sample(range(60), source.randint(1, 40))))
        assert parse_seeds(format_seeds(seeds)) == seeds
    assert format_seeds([9, 0, 1, 2]) == "0:3,9"
    assert format_seeds(range(64)) == "0:64"


@pytest.mark.parametrize("seed", [0, 1, MAX_SEED])
def test_check_seed_returns_legal_seeds(seed: int) -> None:
    assert check_seed(seed) == seed


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 2.0, "3", None, False])
def test_check_seed_refuses(seed: object) -> None:
    with pytest.raises(UserError, match=r"statistics\.seed"):
        check_seed(seed, "statistics.seed")


def test_seeds_that_torch_cannot_tell_apart_are_refused() -> None:
    # the reason for the rule, in torch itself: should this ever fail, the rule can go
    draws = [torch.randn(32, generator=torch.Generator().manual_seed(seed)) for seed in (5, 5 + 2**32)]
    assert torch.equal(*draws)
    with pytest.raises(UserError, match=r"5 and 4294967301.*2\^32"):
        check_distinct_noise((1, 5, 5 + 2**32))
    check_distinct_noise((5, 6 + 2**32, 7 + 2**40))
