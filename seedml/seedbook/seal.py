"""Version and hash of a seed book: a book of a newer program and one that somebody changed are noticed.

The hash guards against accidents, not against forgers: whoever changes a book can compute it anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seedml.errors import UserError
from seedml.files import fingerprint

VERSION = 2
"""Of the format. Books of the first had neither version nor hash, and did not say where their model is."""
_HASH, _VERSION = "sha256", "version"


def sealed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The book with its version (first) and its hash (last)."""
    content = {_VERSION: VERSION} | {name: value for name, value in raw.items() if name not in (_HASH, _VERSION)}
    return content | {_HASH: content_hash(content)}


def content_hash(raw: Mapping[str, Any]) -> str:
    """Hex SHA-256 of all fields but the hash, as canonical JSON.

    A program that reads a book and saves it again may write 1.0 as 1, which is the same number: so does this.
    """
    return fingerprint({name: _plain(value) for name, value in raw.items() if name != _HASH})


def _hash_or_none(raw: Mapping[str, Any]) -> str | None:
    """The hash; ``None`` of a book with NaN or infinity in it, which none is written with."""
    try:
        return content_hash(raw)
    except ValueError:
        return None


def _plain(value: object) -> object:
    if isinstance(value, Mapping):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def check_seal(raw: Mapping[str, Any], where: str) -> None:
    """Refuse a book that this program cannot read, or that is not as it was written.

    Args:
        raw: the book.
        where: its file, for errors.

    Raises:
        UserError: its version is newer, or no version at all; its hash is not that of its content.

    """
    version = raw.get(_VERSION, 1)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise UserError(f"{where} has no legal version", given=version, legal=f"1 to {VERSION}",
                        remedy="run `seedml select` again")  # fmt: skip
    if version > VERSION:
        raise UserError(f"{where} is a seed book of a newer version of seedml", given=version,
                        legal=f"versions 1 to {VERSION}", remedy="install the newer seedml")  # fmt: skip
    if version == 1 and _HASH not in raw:
        return
    if _HASH not in raw or raw[_HASH] != _hash_or_none(raw):
        raise UserError(
            f"{where} was changed after it was written: its {_HASH} is not that of its content",
            remedy="restore the file, or delete it and run `seedml select` again",
        )
