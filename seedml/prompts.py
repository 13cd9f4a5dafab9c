"""Prompt sets: the bundled scenes and files of one's own, with their splits. Knows no image and no seed."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from seedml.captions import scene_prompts
from seedml.config import PromptsConfig
from seedml.errors import UserError


class Prompt(NamedTuple):
    """A prompt of a study."""

    prompt_id: int
    """Its place in the prompt set, from 0: the line of a text file, the row of a table."""
    text: str
    split: str
    """``train``, ``val`` or ``test``."""


def load_prompts(config: PromptsConfig) -> list[Prompt]:
    """The study's prompts with their splits, sorted by ``prompt_id``; prompts that no split takes are left out.

    Raises:
        UserError: the file is missing, unreadable, empty or repeats a prompt, or the splits need more prompts than
            there are.

    """
    texts = _read(config)
    if config.limit is not None:
        texts = dict(list(texts.items())[: config.limit])
    splits = _assign(texts, _counts(config.splits, len(texts)))
    return [Prompt(prompt_id, texts[prompt_id], splits[prompt_id]) for prompt_id in sorted(splits)]


def _counts(splits: Mapping[str, float], available: int) -> dict[str, int]:
    """Prompts in each split; shares are rounded by largest remainder, so a whole set leaves no prompt over."""
    counts = {name: int(value) for name, value in splits.items()}
    if any(isinstance(value, float) for value in splits.values()):
        exact = {name: value * available for name, value in splits.items()}
        counts = {name: int(value + 1e-9) for name, value in exact.items()}
        left = int(sum(exact.values()) + 1e-9) - sum(counts.values())
        by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])  # sorted() keeps ties in order
        counts |= {name: counts[name] + 1 for name in by_remainder[:left]}
    empty = [name for name, count in counts.items() if count == 0]
    if sum(counts.values()) > available or empty:
        wanted = ", ".join(f"{name} {value}" for name, value in splits.items())
        lacking = f"; none is left for {', '.join(empty)}" if empty else ""
        raise UserError(
            f"prompts.splits needs more prompts than the {available} there are (prompts.limit counts){lacking}",
            given=wanted,
            legal="at least one prompt in every split named, together at most all prompts",
            remedy="give more prompts, raise prompts.limit, or lower prompts.splits",
        )
    return counts


def _assign(texts: Mapping[int, str], counts: Mapping[str, int]) -> dict[int, str]:
    """Splits by a fixed permutation that follows from each prompt's own text: reordering a file changes no split."""
    order = sorted(texts, key=lambda prompt_id: hashlib.sha256(f"split:{texts[prompt_id]}".encode()).digest())
    splits: dict[int, str] = {}
    start = 0
    for name, count in counts.items():
        splits |= dict.fromkeys(order[start : start + count], name)
        start += count
    return splits


def _read(config: PromptsConfig) -> dict[int, str]:
    """``prompt_id`` -> text of the whole prompt set, ascending; blank entries are skipped and keep their number."""
    if config.file is None:
        return dict(enumerate(scene_prompts()))
    path = Path(config.file).expanduser()
    readers: dict[str, Callable[[bytes, Path], list[str]]] = {
        ".txt": _read_text, ".csv": _read_csv, ".parquet": _read_parquet,
    }  # fmt: skip
    if path.suffix.lower() not in readers:
        raise UserError("prompts.file is of no known kind", given=config.file, legal=".txt, .csv or .parquet",
                        remedy="save the prompts as a text file, one a line")  # fmt: skip
    lines = readers[path.suffix.lower()](_bytes(path), path)
    texts = {i: line.strip() for i, line in enumerate(lines) if line.strip()}
    if not texts:
        raise UserError(f"prompts.file {path} holds no prompt", given=config.file, legal="at least one prompt",
                        remedy="write prompts into it, one a line, or name another file")  # fmt: skip
    _refuse_repetition(texts, path)
    return texts


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"prompts.file cannot be read: {error.strerror or error}", given=str(path),
                        legal="a readable .txt, .csv or .parquet file", remedy="check the path") from error  # fmt: skip


def _refuse_repetition(texts: Mapping[int, str], path: Path) -> None:
    """A prompt that is there twice could be in the train and in the test split."""
    first: dict[str, int] = {}
    for prompt_id, text in texts.items():
        if text in first:
            raise UserError(f"prompts.file {path} holds a prompt twice, as prompts {first[text]} and {prompt_id}",
                            given=text, legal="every prompt once", remedy="leave the repetitions out")  # fmt: skip
        first[text] = prompt_id


def _decode(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"prompts.file {path} is not UTF-8 text (byte {error.start})", given=str(path),
                        legal="UTF-8", remedy="save it as UTF-8") from error  # fmt: skip


def _read_text(data: bytes, path: Path) -> list[str]:
    """One prompt a line. Only line feeds end a line (``str.splitlines`` also cuts at U+2028 and others)."""
    return _decode(data, path).replace("\r\n", "\n").split("\n")


def _read_csv(data: bytes, path: Path) -> list[str]:
    """Column ``prompt``, else the first; the first row holds the names of the columns."""
    try:
        rows = list(csv.reader(io.StringIO(_decode(data, path), newline=""), strict=True))
    except csv.Error as error:
        raise UserError(f"prompts.file {path} is no valid CSV: {error}", given=str(path), legal="CSV in UTF-8",
                        remedy="mend the file") from error  # fmt: skip
    names = rows[0] if rows else []
    column = names.index("prompt") if "prompt" in names else 0
    return [row[column] if column < len(row) else "" for row in rows[1:]]


def _read_parquet(data: bytes, path: Path) -> list[str]:
    """Column ``prompt``, text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except pa.ArrowException as error:
        raise UserError(f"prompts.file {path} is no valid Parquet: {error}", given=str(path), legal="a Parquet file",
                        remedy="write it again") from error  # fmt: skip
    if "prompt" not in table.column_names:
        raise UserError(f"prompts.file {path} has no column 'prompt'", given=", ".join(table.column_names),
                        legal="a column named prompt", remedy="rename the column")  # fmt: skip
    values = table.column("prompt").to_pylist()
    if not all(value is None or isinstance(value, str) for value in values):
        kind = str(table.schema.field("prompt").type)
        raise UserError(f"prompts.file {path}: column 'prompt' holds no text", given=kind, legal="strings",
                        remedy="write the column as text")  # fmt: skip
    return [value or "" for value in values]
