"""What is in a shard's tar, read strictly and once; and whether that is what its table says. Writes nothing."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol

from PIL import Image

from seedml.shards.format import OK, decode_image

Row = Mapping[str, Any]
"""Of a shard's table."""

_BUFFER = 1 << 20
_SMALL_BUFFER = 1 << 12
"""Holds the headers and texts between two images."""
_NO_PREFIX = bytes(155)
_DESCRIBED = ("seed", "prompt_id", "prompt", "split", "noise_sha256", "status")
"""What a sample's ``.json`` and its row both say."""
NO_IMAGE = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)
"""What Pillow raises on bytes that are no image."""


@dataclass
class TarContents:
    """What one reading of a tar tells."""

    image_format: str
    """Ending of the images' names."""
    names: list[str] = field(default_factory=list)
    """Of the members, in order."""
    sizes: dict[str, int] = field(default_factory=dict)
    """Name -> bytes."""
    texts: dict[str, bytes] = field(default_factory=dict)
    """Name -> content of ``.txt`` and ``.json`` members."""
    bytes: int = 0
    """Of the whole file."""
    sha256: str = ""
    """Of the whole file."""
    broken: str = ""
    """Why it could not be read to its end; empty where it could."""

    def keys(self) -> list[str]:
        """The samples', in order."""
        return list(dict.fromkeys(name.partition(".")[0] for name in self.names))

    def members_of(self, keys: Sequence[str]) -> list[str]:
        """The names that whole samples of these keys have."""
        return [f"{key}.{ending}" for key in keys for ending in (self.image_format, "txt", "json")]

    def missing_members(self) -> list[str]:
        """What the samples that are there lack."""
        return [name for name in self.members_of(self.keys()) if name not in self.sizes]

    def contradictions(self, rows: Sequence[Row]) -> list[str]:
        """Where tar and table disagree, in words. A sample that lacks a member is not named for that."""
        made = {str(row["key"]): row for row in rows if row["status"] == OK}
        wanted, there = self.members_of(list(made)), set(self.keys())
        unasked = set(self.names) - set(wanted)
        problems = [f"{name} has no row of status ok" for name in self.names if name in unasked]
        problems += [f"{key} has a row of status ok and no sample" for key in made if key not in there]
        problems += [problem for key, row in made.items() for problem in self._differences(key, row)]
        if not problems and not self.missing_members() and self.names != wanted:
            problems = ["the samples are not in the order of the rows, each once"]
        return problems

    def _differences(self, key: str, row: Row) -> Iterator[str]:
        """Where the sample's members, those that are there, are not what its row says."""
        image, text, about = self.members_of([key])
        if self.sizes.get(image, row["bytes"]) != row["bytes"]:
            yield f"{image} has {self.sizes[image]} bytes, its row says {row['bytes']}"
        prompt = str(row["prompt"]).encode()
        if self.texts.get(text, prompt) != prompt:
            yield f"{text} is not the prompt of its row"
        if about in self.texts:
            try:
                described = json.loads(self.texts[about])
                differing = [name for name in _DESCRIBED if described[name] != row[name]]
            except (ValueError, KeyError, TypeError):
                yield f"{about} is no description of an image"
            else:
                if differing:
                    yield f"{about} has another {', '.join(differing)} than its row"


def read_tar(shard: Path, image_format: str) -> TarContents:
    """Read a tar from front to back. Damage does not stop the hash.

    Raises:
        OSError: the file is missing or the disk fails.

    """
    tar = TarContents(image_format)
    with shard.open("rb", buffering=_BUFFER) as file:
        stream = _HashedStream(file)
        try:
            for name, data in _members(stream):
                tar.names.append(name)
                tar.sizes[name] = len(data)
                if name.endswith((".txt", ".json")):
                    tar.texts[name] = data
        except tarfile.TarError as error:
            tar.broken = f"{error} before byte {stream.count}"
        while stream.read(_BUFFER):
            pass
    tar.bytes, tar.sha256 = stream.count, stream.digest.hexdigest()
    return tar


class MemberPlace(NamedTuple):
    """Where the content of a member is in its tar."""

    name: str
    offset: int
    """Of the first byte."""
    size: int
    """Bytes."""


def member_places(shard: Path) -> Iterator[MemberPlace]:
    """The members of a tar and where their contents are, as strict as :func:`read_tar`, but reading headers only.

    Raises:
        tarfile.TarError: a damaged header, or the file ends before the closing blocks.
        OSError: the file is missing or the disk fails.

    """
    with shard.open("rb", buffering=_SMALL_BUFFER) as file:
        end = os.fstat(file.fileno()).st_size
        position = 0
        while (found := _header(file)) is not None:
            name, size = found
            offset = position + tarfile.BLOCKSIZE
            position = offset + size + -size % tarfile.BLOCKSIZE
            if position > end:
                raise tarfile.ReadError("unexpected end of data")
            yield MemberPlace(name, offset, size)
            file.seek(position)


def undecodable_images(shard: Path, image_format: str) -> list[str]:
    """Names of the tar's images, as far as it can be read, that cannot be decoded."""
    names = []
    with shard.open("rb", buffering=_BUFFER) as stream:
        try:
            for name, data in _members(stream):
                if name.endswith(f".{image_format}") and not _decodes(data):
                    names.append(name)
        except tarfile.TarError:
            return names  # the reading before this one has told
    return names


def _decodes(data: bytes) -> bool:
    try:
        decode_image(data)
    except NO_IMAGE:
        return False
    return True


class _Readable(Protocol):
    def read(self, count: int, /) -> bytes: ...


class _HashedStream:
    """A file that is read from front to back and knows hash and number of the bytes read.

    It is hashed a buffer at a time: for small pieces hashlib keeps the interpreter, and other shards would wait.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._buffer, self._position = b"", 0
        self.digest = hashlib.sha256()
        self.count = 0

    def read(self, count: int, /) -> bytes:
        end = self._position + count
        if end > len(self._buffer):
            self._fill(count)
            end = count
        data = self._buffer[self._position : end]
        self._position += len(data)
        self.count += len(data)
        return data

    def _fill(self, count: int) -> None:
        rest = self._buffer[self._position :]
        new = self._file.read(max(_BUFFER, count - len(rest)))
        self.digest.update(new)
        self._buffer, self._position = rest + new, 0


def _members(stream: _Readable) -> Iterator[tuple[str, bytes]]:
    """Names and contents of a tar's members, up to its two closing blocks.

    ``tarfile.open`` takes a tar that is cut between two members, or has a damaged header after the first, for one that
    ends there. Read header by header, it cannot be mistaken.

    Raises:
        tarfile.TarError: a damaged header, or the file ends before the closing blocks.

    """
    block = tarfile.BLOCKSIZE
    while (found := _header(stream)) is not None:
        name, size = found
        data, padding = stream.read(size), stream.read(-size % block)
        if (len(data) + len(padding)) % block or len(data) != size:
            raise tarfile.ReadError("unexpected end of data")
        yield name, data


def _header(stream: _Readable) -> tuple[str, int] | None:
    """Name and size of the next member; ``None`` at the two closing blocks.

    Raises:
        tarfile.TarError: no header, or one closing block.

    """
    try:
        return _name_and_size(stream.read(tarfile.BLOCKSIZE))
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # a block of zeros
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("one closing block instead of two") from None
        return None


def _byte_sum(block: bytes) -> int:
    """The sum of up to 512 bytes, 10 times faster than ``sum``: Adler-32 begins with it, modulo 65521 > 256 · 255."""
    return (zlib.adler32(block[:256]) & 0xFFFF) + (zlib.adler32(block[256:]) & 0xFFFF) - 2


def _name_and_size(header: bytes) -> tuple[str, int]:
    """Of a member. Headers as our writer makes them are read here, 10 times faster than by ``tarfile``; others there.

    Raises:
        tarfile.TarError: no header.

    """
    if header[156:157] == tarfile.REGTYPE and header[345:500] == _NO_PREFIX and len(header) == tarfile.BLOCKSIZE:
        checksum = _byte_sum(header) - sum(header[148:156]) + sum(b" " * 8)
        with suppress(ValueError):  # no octal number
            if int(header[148:154], 8) == checksum:
                return header[:100].rstrip(b"\0").decode("utf-8", "surrogateescape"), int(header[124:135], 8)
    member = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    return member.name, member.size
