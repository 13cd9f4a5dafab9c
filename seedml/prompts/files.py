"""Files of prompts -> their lines: text, tables, JSON lines and COCO's captions. Knows no split and drops nothing."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from seedml.errors import UserError

LEGAL = ".jsonl, .tsv, .txt, .csv or .parquet"


class MissingFileError(UserError):
    """There is no such file: all else that the configuration says may be in order."""


def read_lines(path: Path, columns: Sequence[str] = (), key: str = "prompts.file") -> list[str]:
    """A prompt a line or row, empty where there is none, so that a prompt's place is its number.

    Args:
        path: its ending says what it is.
        columns: names that the column may have, whatever their case; none = ``prompt``, in a CSV or TSV else the first.
        key: the configuration key that named it, for errors.

    Raises:
        UserError: missing, unreadable, of no known kind, damaged, or without such a column.

    """
    readers: dict[str, Callable[[bytes, Path, Sequence[str]], list[str]]] = {
        ".txt": _read_text, ".csv": _read_csv, ".tsv": _read_tsv, ".parquet": _read_parquet, ".jsonl": _read_jsonl,
    }  # fmt: skip
    if path.suffix.lower() not in readers:
        raise UserError(f"{key} is of no known kind", given=str(path), legal=LEGAL,
                        remedy="save the prompts as a text file, one a line")  # fmt: skip
    return readers[path.suffix.lower()](read_bytes(path, key), path, columns)


def read_bytes(path: Path, key: str = "prompts.file", remedy: str = "check the path") -> bytes:
    """The file's bytes.

    Raises:
        MissingFileError: there is none.
        UserError: it cannot be read.

    """
    try:
        return path.read_bytes()
    except OSError as error:
        kind = MissingFileError if isinstance(error, FileNotFoundError) else UserError
        raise kind(f"{key} cannot be read: {error.strerror or error}", given=str(path),
                   legal=f"a readable {LEGAL} file", remedy=remedy) from error  # fmt: skip


def _decode(data: bytes, path: Path) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"prompts.file {path} is not UTF-8 text (byte {error.start})", given=str(path),
                        legal="UTF-8", remedy="save it as UTF-8") from error  # fmt: skip


def _read_text(data: bytes, path: Path, columns: Sequence[str]) -> list[str]:
    """One prompt a line. Only line feeds end a line (``str.splitlines`` also cuts at U+2028 and others)."""
    return _decode(data, path).replace("\r\n", "\n").split("\n")


def _read_csv(data: bytes, path: Path, columns: Sequence[str]) -> list[str]:
    """The first row holds the names of the columns."""
    try:
        rows = list(csv.reader(io.StringIO(_decode(data, path), newline=""), strict=True))
    except csv.Error as error:
        raise UserError(f"prompts.file {path} is no valid CSV: {error}", given=str(path), legal="CSV in UTF-8",
                        remedy="mend the file") from error  # fmt: skip
    return _column(rows, path, columns)


def _read_tsv(data: bytes, path: Path, columns: Sequence[str]) -> list[str]:
    """As a CSV, but quotation marks are part of the text, as in PartiPrompts."""
    return _column([line.split("\t") for line in _read_text(data, path, ())], path, columns)


def _column(rows: Sequence[Sequence[str]], path: Path, columns: Sequence[str]) -> list[str]:
    names = rows[0] if rows else []
    if columns:
        place = names.index(_name_among(names, columns, path))
    else:
        place = names.index("prompt") if "prompt" in names else 0
    return [row[place] if place < len(row) else "" for row in rows[1:]]


def _name_among(names: Sequence[str], columns: Sequence[str], path: Path) -> str:
    """The first of ``names`` that is one of ``columns``; the same spelling before another case."""
    found = next((name for name in names if name in columns), None)
    lower = {column.lower() for column in columns}
    found = found or next((name for name in names if name.lower() in lower), None)
    if found is None:
        wanted = " or ".join(repr(column) for column in columns)
        raise UserError(f"prompts.file {path} has no column {wanted}", given=", ".join(names),
                        legal=f"a column named {wanted}",
                        remedy="rename the column, or name it in prompts.column")  # fmt: skip
    return found


def _read_parquet(data: bytes, path: Path, columns: Sequence[str]) -> list[str]:
    """A column of text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(pa.BufferReader(data))
    except pa.ArrowException as error:
        raise UserError(f"prompts.file {path} is no valid Parquet: {error}", given=str(path), legal="a Parquet file",
                        remedy="write it again") from error  # fmt: skip
    name = _name_among(table.column_names, columns or ("prompt",), path)
    values = table.column(name).to_pylist()
    if not all(value is None or isinstance(value, str) for value in values):
        kind = str(table.schema.field(name).type)
        raise UserError(f"prompts.file {path}: column {name!r} holds no text", given=kind, legal="strings",
                        remedy="write the column as text")  # fmt: skip
    return [value or "" for value in values]


def _read_jsonl(data: bytes, path: Path, columns: Sequence[str]) -> list[str]:
    """A line is an object with the prompt under ``prompt``, or a prompt in quotes; blank lines are no prompts."""
    lines = _read_text(data, path, ())
    return [_json_prompt(line, number, path, columns or ("prompt",)) for number, line in enumerate(lines)]


def _json_prompt(line: str, number: int, path: Path, columns: Sequence[str]) -> str:
    if not line.strip():
        return ""
    place = f"prompts.file {path}, line {number + 1}"
    try:
        value = json.loads(line)
    except ValueError as error:
        raise UserError(f"{place} is no valid JSON: {error}", given=line[:80], legal='{"prompt": "a cat"}',
                        remedy="mend the line") from error  # fmt: skip
    if isinstance(value, dict):
        value = value.get(_name_among(list(value), columns, path))
    if not isinstance(value, str | None):
        raise UserError(f"{place} holds no text", given=value, legal='{"prompt": "a cat"}', remedy="mend the line")
    return value or ""


def read_coco(path: Path, captions_per_image: int | None, remedy: str) -> dict[int, str]:
    """Captions of a COCO annotation file (``captions_val2014.json`` and its like): the caption's own id -> caption.

    Args:
        path: the JSON file.
        captions_per_image: of an image's captions (mostly five), those with the lowest ids; ``None`` = all.
        remedy: what to do where the file is missing.

    Raises:
        UserError: missing, unreadable, or not as COCO writes captions.

    """
    data = read_bytes(path, remedy=remedy)
    try:
        content = json.loads(data)
    except ValueError as error:
        raise UserError(f"prompts.file {path} is no valid JSON: {error}", given=str(path),
                        legal="COCO's captions_val2014.json or its like", remedy=remedy) from error  # fmt: skip
    rows = content.get("annotations") if isinstance(content, Mapping) else None
    if not isinstance(rows, list) or not all(map(_is_caption, rows)):
        raise UserError(f"prompts.file {path} holds no captions as COCO writes them", given=str(path),
                        legal="a JSON file with annotations that have id, image_id and caption: captions_…, not "
                        "instances_…", remedy=remedy)  # fmt: skip
    taken: dict[int, int] = {}
    captions: dict[int, str] = {}
    for row in sorted(rows, key=lambda row: row["id"]):
        image = row["image_id"]
        taken[image] = taken.get(image, 0) + 1
        if captions_per_image is None or taken[image] <= captions_per_image:
            captions[row["id"]] = row["caption"]
    return captions


def _is_caption(row: Any) -> bool:
    kinds = {"id": int, "image_id": int, "caption": str}
    return isinstance(row, Mapping) and all(isinstance(row.get(name), kind) for name, kind in kinds.items())
