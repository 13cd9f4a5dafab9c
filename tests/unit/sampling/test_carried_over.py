"""Figures of comparisons at sampling time: which studies are spoken of, and where they are found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from small_book import raw_book, tiny_book
from tiny_models import tiny_stable_diffusion

from seedml.__main__ import main
from seedml.files import atomic_write_json
from seedml.models.folder import model_facts
from seedml.sampling import settings_of
from seedml.sampling.carried_over import carried_over, known_transfers, made_now
from seedml.seedbook import Figure, SeedBook, Transfer, sealed


@pytest.fixture
def book() -> SeedBook:
    return SeedBook.read(raw_book())


def told(made_with: Mapping[str, Any], value: float = 0.5) -> Transfer:
    return Transfer(made_with, True, True, Figure(value, 0.1, 0.8, 64))


def comparison(folder: Path, own: Path, made_with: Mapping[str, Any], transfer: Transfer) -> Path:
    """``compare.json`` of the run in ``own``, there called ``mine``, and a study ``other``."""
    path = folder / "compare.json"
    atomic_write_json(path, {
        "folders": [str(own.resolve()), "/elsewhere/other"], "studies": ["mine", "other"],
        "made_with": {"mine": dict(made_with)}, "transfer": {"mine": {"other": transfer.as_json()}, "other": {}},
    })  # fmt: skip
    return path


def test_a_study_that_was_made_so_is_preferred_to_one_of_the_same_model(book: SeedBook) -> None:
    now = book.made_with() | {"steps": 8}
    near, other = now | {"steps": 6}, now | {"model": "another"}
    known = book.with_transfers({"exact": told(now, 0.9), "near": told(near, 0.4), "other": told(other)})
    assert carried_over(known, now) == [
        "in the study exact, made as these pictures are: its seeds' order by FID agrees with the book's by a rank "
        "correlation of 0.9 (0.1 to 0.8, n = 64 seeds); chance gives 0"
    ]
    without = replace(known, transfer={name: known.transfer[name] for name in ("near", "other")})
    (line,) = carried_over(without, now)
    assert line.startswith(
        "in the study near, of the same model but with another number of steps than these pictures: "
    )


def test_the_nearest_few_are_spoken_of(book: SeedBook) -> None:
    now = book.made_with() | {"steps": 8, "guidance_scale": 3.0}
    some = {f"s{steps}": told(now | {"steps": steps}) for steps in (1, 2, 3)}
    some["far"] = told(now | {"steps": 9, "guidance_scale": 9.0})
    lines = carried_over(book.with_transfers(some), now)
    assert [line.split(",")[0].removeprefix("in the study ") for line in lines] == ["s1", "s2", "s3"]


@pytest.mark.parametrize("change", [{"model": "x"}, {"latent_shape": [4, 8, 8]}])
def test_another_model_or_size_says_nothing_of_these_pictures(book: SeedBook, change: dict[str, Any]) -> None:
    now = book.made_with() | {"steps": 8}
    assert carried_over(book.with_transfers({"x": told(now | change)}), now) == []
    assert carried_over(book.with_transfers({"x": told({})}), now) == [], "a study that does not say how it was made"


def test_comparisons_beside_the_run_are_found(book: SeedBook, tmp_path: Path) -> None:
    own = tmp_path / "runs" / "mine"
    own.mkdir(parents=True)
    here = replace(book, folder=own)
    now = book.made_with() | {"steps": 8}
    path = comparison(tmp_path / "runs" / "c", own, book.made_with(), told(now, 0.7))
    assert known_transfers(here)["other"].order.value == 0.7
    assert known_transfers(here.with_transfers({"other": told(now, 0.2)}))["other"].order.value == 0.2, "the book's own"
    assert known_transfers(book) == {}, "read from no folder"
    assert known_transfers(replace(book, folder=tmp_path / "runs" / "another")) == {}
    comparison(tmp_path / "runs" / "c", own, book.made_with() | {"steps": 99}, told(now))
    assert known_transfers(here) == {}, "the run was made again since"
    for text in (
        "no json",
        "[]",
        "{}",
        '{"folders": 3}',
        f'{{"folders": ["{own}"], "studies": ["a"], "transfer": []}}',
    ):
        path.write_text(text)
        assert known_transfers(here) == {}
    comparison(tmp_path / "runs" / "d", own, {}, told(now, 0.6))
    assert known_transfers(here)["other"].order.value == 0.6


def test_sampling_shows_them_where_pictures_are_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_stable_diffusion(tmp_path / "model")
    own = tmp_path / "runs" / "mine"
    atomic_write_json(own / "seedbook.json", sealed(tiny_book(model)))
    book = SeedBook.load(own)
    config = settings_of(book)
    assert made_now(config, model_facts(config)) == book.made_with(), "a book's own settings are not other ones"
    now = book.made_with() | {"steps": 2}
    comparison(tmp_path / "runs" / "c", own, book.made_with(), told(now, 0.62))
    for words, shown in ((["sampler.steps=2"], True), (["sampler.steps=2", "model.height=48"], False), ([], False)):
        assert main(["sample", str(own), "a red ball on grass", "n=1", *words]) == 0
        err = capsys.readouterr().err
        assert ("in the study other, made as these pictures are" in err) == shown
        assert ("0.62 (0.1 to 0.8, n = 64 seeds)" in err) == shown
