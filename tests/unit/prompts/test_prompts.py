"""Prompt sets: what is read, which split each prompt gets, what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from seedml.captions import scene_prompts
from seedml.config import PromptsConfig
from seedml.errors import UserError
from seedml.prompts import Prompt, load_prompts

ALL = {"train": 1.0}


def load(path: Path, **settings: object) -> list[Prompt]:
    return load_prompts(PromptsConfig(file=str(path), **{"splits": ALL, **settings}))  # type: ignore[arg-type]


def texts(prompts: list[Prompt]) -> dict[int, str]:
    return {prompt.prompt_id: prompt.text for prompt in prompts}


def test_scenes_are_the_bundled_captions() -> None:
    prompts = load_prompts(PromptsConfig())
    assert [p.text for p in prompts] == scene_prompts()
    assert [p.prompt_id for p in prompts] == list(range(600))
    assert Counter(p.split for p in prompts) == {"train": 420, "val": 60, "test": 120}


def test_text_file_keeps_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes("\ufeffa cat\r\n\r\n  a dog \nça va\u2028encore\n\n".encode())
    assert texts(load(path)) == {0: "a cat", 2: "a dog", 3: "ça va\u2028encore"}


def test_csv_with_and_without_the_column(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text('id,prompt\n1,"a cat, black"\n2,\n3\n4,"a ""big""\ndog"\n')
    assert texts(load(path)) == {0: "a cat, black", 3: 'a "big"\ndog'}
    path.write_text("caption,id\na cat,1\na dog,2\n")
    assert texts(load(path)) == {0: "a cat", 1: "a dog"}


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"id": [1, 2, 3], "prompt": ["a cat", None, "a dog"]}), path)
    assert texts(load(path)) == {0: "a cat", 2: "a dog"}


def test_limit_takes_the_first_prompts(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_text("a\n\nb\nc\n")
    assert texts(load(path, limit=2)) == {0: "a", 2: "b"}
    assert texts(load(path, limit=99)) == {0: "a", 2: "b", 3: "c"}


@pytest.mark.parametrize(
    ("splits", "n", "counts"),
    [
        ({"train": 0.7, "val": 0.1, "test": 0.2}, 160, {"train": 112, "val": 16, "test": 32}),
        ({"train": 0.7, "val": 0.1, "test": 0.2}, 10, {"train": 7, "val": 1, "test": 2}),
        ({"train": 1 / 3, "val": 1 / 3, "test": 1 / 3}, 100, {"train": 34, "val": 33, "test": 33}),
        ({"train": 0.5, "val": 0.25, "test": 0.25}, 7, {"train": 3, "val": 2, "test": 2}),
        ({"train": 0.5, "test": 0.25}, 100, {"train": 50, "test": 25}),
        ({"train": 5, "test": 3}, 100, {"train": 5, "test": 3}),
        ({"train": 1.0}, 9, {"train": 9}),
        ({"train": 1}, 9, {"train": 1}),
    ],
)
def test_sizes_of_splits(splits: dict[str, float], n: int, counts: dict[str, int]) -> None:
    prompts = load_prompts(PromptsConfig(limit=n, splits=splits))
    assert Counter(p.split for p in prompts) == counts
    ids = [p.prompt_id for p in prompts]
    assert ids == sorted(set(ids))


def test_splits_follow_the_text_not_the_order(tmp_path: Path) -> None:
    lines = [f"prompt number {i}" for i in range(50)]
    path = tmp_path / "p.txt"
    splits = {"train": 30, "val": 5, "test": 15}
    path.write_text("\n".join(lines))
    forward = {p.text: p.split for p in load(path, splits=splits)}
    path.write_text("\n".join(reversed(lines)))
    assert {p.text: p.split for p in load(path, splits=splits)} == forward
    assert len(forward) == 50


def test_splits_are_fixed_and_mixed() -> None:
    """The split of a study's prompts must not change between versions: these are its first ones."""
    first = "".join(p.split[1] for p in load_prompts(PromptsConfig(limit=40)))
    assert first == FIRST_SPLITS


FIRST_SPLITS = "errrrrrrerraraerrerrrrarrrrrereareerrrrr"  # second letters: tRain, vAl, tEst


@pytest.mark.parametrize("splits", [{"train": 8, "val": 2, "test": 2}, {"train": 0.98, "val": 0.01, "test": 0.01}])
def test_fewer_prompts_than_splits_need(splits: dict[str, float]) -> None:
    with pytest.raises(UserError, match=r"prompts\.splits needs more prompts than the 11.*train.*remedy"):
        load_prompts(PromptsConfig(limit=11, splits=splits))


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("p.txt", b"", "holds no prompt"),
        ("p.txt", b"\n  \n\t\n", "holds no prompt"),
        ("p.csv", b"", "holds no prompt"),
        ("p.csv", b"prompt\n", "holds no prompt"),
        ("p.csv", b'prompt\n"open', "no valid CSV"),
        ("p.txt", b"caf\xe9\n", "not UTF-8 text (byte 3)"),
        ("p.csv", b"prompt\ncaf\xe9\n", "not UTF-8"),
        ("p.txt", "a cat".encode("utf-16"), "not UTF-8"),
        ("p.parquet", b"PAR1", "no valid Parquet"),
        ("p.parquet", b"", "no valid Parquet"),
        ("p.json", b"[]", ".txt, .csv or .parquet"),
        ("p", b"a", ".txt, .csv or .parquet"),
        ("p.txt", b"a cat\na dog\na cat \n", "twice, as prompts 0 and 2"),
    ],
)
def test_files_that_are_refused(tmp_path: Path, name: str, content: bytes, part: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as error:
        load(path)
    assert part in str(error.value)
    assert "prompts.file" in str(error.value)
    assert "remedy: " in str(error.value)


def test_parquet_columns_that_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"text": ["a"]}), path)
    with pytest.raises(UserError, match="no column 'prompt'; given: 'text'"):
        load(path)
    pq.write_table(pa.table({"prompt": [1]}), path)
    with pytest.raises(UserError, match="holds no text; given: 'int64'"):
        load(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"prompts\.file cannot be read: No such file.*none\.txt"):
        load(tmp_path / "none.txt")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(UserError, match=r"prompts\.file cannot be read"):
        load(tmp_path / "folder.txt")
