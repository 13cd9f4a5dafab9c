"""Verifying a seed book: every noise comes out again, or it is said what differs."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from small_book import raw_book, raw_card, tiny_book

from seedml.__main__ import main
from seedml.noise import initial_noise, noise_sha256
from seedml.sampling.noise_check import mismatches
from seedml.seedbook import SeedBook, sealed

SHAPE = (4, 16, 16)


def noise(seed: int = 3, shape: tuple[int, int, int] = SHAPE, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    source = torch.Generator("cpu").manual_seed(seed)
    return torch.randn((1, *shape), generator=source, dtype=dtype)[0]


def raw_hash(drawn: torch.Tensor) -> str:
    return hashlib.sha256(drawn.numpy().tobytes()).hexdigest()


def reasons(**changes: Any) -> list[str]:
    """What is said of a book of one card, the hash of whose noise is that of seed 3 but for ``changes``."""
    card = raw_card(0, **({"noise_sha256": noise_sha256(noise())} | changes)) | {"seed": 3}
    book = SeedBook.read(raw_book(cards=[card], golden=[], inferior=[], diverse=[]))
    return [found.reason for found in mismatches(book)]


def test_a_noise_that_comes_out_again() -> None:
    assert reasons() == []
    assert reasons(latent_shape=[4, 8, 24], noise_sha256=noise_sha256(noise(shape=(4, 8, 24)))) == []


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"noise_sha256": noise_sha256(noise(shape=(4, 64, 64)))}, "16384 values, such as 4 × 64 × 64, and the card"),
        ({"latent_shape": [16, 128, 128]}, "shape: the noise has 1024 values, such as 4 × 16 × 16"),
        ({"noise_sha256": noise_sha256(noise(dtype=torch.float16).float())}, "dtype: drawn in float16"),
        ({"noise_sha256": noise_sha256(noise(dtype=torch.bfloat16).float())}, "dtype: drawn in bfloat16"),
        ({"noise_sha256": raw_hash(noise(dtype=torch.float64))}, "dtype: drawn in float64"),
        ({"noise_sha256": "0" * 64, "torch_version": "1.4.0"}, "library: drawn by torch 1.4.0, here is "),
        ({"noise_sha256": "0" * 64, "torch_version": torch.__version__}, "is the same: the hash is wrong"),
        ({"generator_device": "cuda"}, "generator device: the noise is one of cpu, and the card says cuda"),
    ],
)  # fmt: skip
def test_what_differs_is_said(changes: dict[str, Any], says: str) -> None:
    (reason,) = reasons(**changes)
    assert says in reason


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_noise_that_cannot_be_drawn_here_is_no_success() -> None:
    (reason,) = reasons(generator_device="cuda", noise_sha256="0" * 64)
    assert reason == "generator device: drawn on cuda, which is not here: cannot be checked"


def test_cards_whose_noises_were_exchanged(tmp_path: Path) -> None:
    raw = tiny_book(tmp_path, seeds=(3, 7))
    hashes = [card["noise_sha256"] for card in raw["cards"]]
    for card, other in zip(raw["cards"], reversed(hashes), strict=True):
        card["noise_sha256"] = other
    found = mismatches(SeedBook.read(raw))
    assert [item.seed for item in found] == [3, 7]
    assert "this seed's is on the card of 7" in found[0].reason


def test_a_study_of_one_initial_noise(tmp_path: Path) -> None:
    raw = tiny_book(tmp_path, initial_seed=5)
    assert {card["noise_sha256"] for card in raw["cards"]} == {noise_sha256(initial_noise([5], SHAPE)[0][0])}
    assert mismatches(SeedBook.read(raw)) == []


def saved(folder: Path, raw: dict[str, Any]) -> str:
    path = folder / "seedbook.json"
    path.write_text(json.dumps(sealed(raw)))
    return str(path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    raw = tiny_book(tmp_path, seeds=range(6))
    assert main(["verify", saved(tmp_path, raw)]) == 0
    assert (
        "small: 6 of 6 noises are those of their cards (4 × 16 × 16 float32, drawn on cpu)" in capsys.readouterr().out
    )
    for card in raw["cards"][1:4]:
        card["noise_sha256"] = noise_sha256(noise(card["seed"], (4, 8, 8)))
    saved(tmp_path, raw)
    assert main(["verify", str(tmp_path)]) == 2  # the folder of a run will do
    out, err = capsys.readouterr()
    assert "seeds 1:4: shape: the noise has 256 values, such as 4 × 8 × 8, and the card says 4 × 16 × 16" in out
    assert "3 of 6 noises" in out
    assert err.splitlines()[-1].startswith("seedml: error: 3 of 6 noises are not those of their cards")


def test_a_tampered_book_and_one_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(saved(tmp_path, tiny_book(tmp_path)))
    path.write_text(path.read_text().replace('"seed": 469', '"seed": 470'))
    for word, says in (str(path), "was changed after it was written"), (str(tmp_path / "no.json"), "no seed book"):
        assert main(["verify", word]) == 2
        assert says in capsys.readouterr().err
    assert main(["verify", str(path), "repair=true"]) == 2
    assert "without settings" in capsys.readouterr().err
