"""Where the pictures of a reference set are: a folder, WebDataset shards, or COCO's annotations with their folder.

All three come down to places in files, in a fixed order. Knows no network; pictures are decoded when they are asked
for.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from seedml.errors import UserError
from seedml.files import fingerprint
from seedml.pixels import Pixels, rgb_pixels

if TYPE_CHECKING:
    from seedml.config import ReferenceConfig

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
"""Of pictures."""
_TAR = ".tar"
_CLOSING = bytes(2 * tarfile.BLOCKSIZE)
"""What a whole tar ends with."""


class Place(NamedTuple):
    """A picture's encoded bytes."""

    name: str
    """Its path in the set, with slashes."""
    path: Path
    offset: int
    size: int
    """Bytes."""


@dataclass(frozen=True)
class PictureSet:
    """The pictures of a reference.

    Attributes:
        words: what they are.
        places: in a fixed order.

    """

    words: str
    places: Sequence[Place]

    @property
    def listing(self) -> str:
        """SHA-256 of names and sizes: tells another set quickly, without reading the pictures."""
        return fingerprint({"pictures": [(place.name, place.size) for place in self.places]})

    def read(self) -> Iterator[tuple[Pixels, bytes]]:
        """Each picture, ``H × W × 3`` uint8, and its file's SHA-256, in order.

        Raises:
            UserError: a file cannot be read or decoded.

        """
        for place in self.places:
            yield _decoded(place)


def _decoded(place: Place) -> tuple[Pixels, bytes]:
    from PIL import Image

    try:
        with place.path.open("rb") as stream:
            stream.seek(place.offset)
            data = stream.read(place.size)
        with Image.open(io.BytesIO(data)) as image:
            return rgb_pixels(image), hashlib.sha256(data).digest()
    except (OSError, ValueError, SyntaxError, EOFError) as error:
        raise UserError(
            f"reference.path: {place.name} is no whole picture", given=str(place.path), legal=", ".join(SUFFIXES),
            remedy="replace the picture or take it out",
        ) from error  # fmt: skip


def set_hash(pictures: Sequence[tuple[str, bytes]]) -> str:
    """SHA-256 over pictures' names and the SHA-256 of their files: of the set, wherever it is."""
    whole = hashlib.sha256()
    for name, digest in pictures:
        whole.update(f"{digest.hex()}  {name}\n".encode())
    return whole.hexdigest()


def is_picture_source(path: Path) -> bool:
    """Whether a path is a folder or a shard, and no file of statistics."""
    return path.is_dir() or path.suffix == _TAR


def find_pictures(config: ReferenceConfig) -> PictureSet:
    """The pictures that ``reference.path`` and ``reference.annotations`` name, at most ``reference.limit`` of them.

    Raises:
        UserError: fewer than two pictures; pictures beside shards; a shard that is cut; annotations that are no COCO's
            or that name files which are not there.

    """
    assert config.path is not None, "scenes are rendered, not found"
    path = Path(config.path).expanduser()
    if config.annotations is not None:
        found = _annotated(Path(config.annotations).expanduser(), path)
    elif path.is_file():
        found = PictureSet(f"images in {path.name}", _in_shard(path, path.name))
    else:
        found = _in_folder(path)
    if len(found.places) < 2:
        raise UserError(
            "reference.path holds fewer than two images", given=str(path), legal=f"{', '.join(SUFFIXES)}, {_TAR}",
            remedy="name a folder of images or of shards",
        )  # fmt: skip
    return _limited(found, config.limit)


def _limited(found: PictureSet, limit: int | None) -> PictureSet:
    """At most so many, drawn at random but always the same, in their old order."""
    if limit is None or limit >= len(found.places):
        return found
    kept = np.sort(np.random.default_rng(0).permutation(len(found.places))[:limit])
    words = f"images drawn from {len(found.places)} {found.words}"
    return PictureSet(words, [found.places[place] for place in kept])


def _in_folder(folder: Path) -> PictureSet:
    """All pictures below a folder, or all in the shards below it."""
    files = sorted((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.as_posix())
    pictures = [path for path in files if path.suffix.lower() in SUFFIXES]
    shards = [path for path in files if path.suffix == _TAR]
    if pictures and shards:
        raise UserError(
            "reference.path holds pictures and shards: which of them?", given=str(folder),
            remedy="name a folder of one kind",
        )  # fmt: skip
    if shards:
        places = [place for shard in shards for place in _in_shard(shard, shard.relative_to(folder).as_posix())]
        return PictureSet(f"images in {len(shards)} shards of {folder.name}", places)
    return PictureSet(f"images in {folder.name}", [_place(path, path.relative_to(folder)) for path in pictures])


def _place(path: Path, name: Path) -> Place:
    return Place(name.as_posix(), path, 0, path.stat().st_size)


def _in_shard(shard: Path, name: str) -> list[Place]:
    """The pictures in a tar, in its order.

    Raises:
        UserError: it is no tar, or is cut: a cut between two members tar readers do not notice.

    """
    places, end = [], 0
    try:
        with tarfile.open(shard, "r:") as tar:
            for member in tar:
                end = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if member.isfile() and Path(member.name).suffix.lower() in SUFFIXES:
                    places.append(Place(f"{name}/{member.name}", shard, member.offset_data, member.size))
        with shard.open("rb") as stream:
            stream.seek(end)
            whole = stream.read(len(_CLOSING)) == _CLOSING
    except (tarfile.TarError, OSError) as error:
        raise _cut(shard, str(error)) from error
    if not whole:
        raise _cut(shard, "its end is missing")
    return places


def _cut(shard: Path, why: str) -> UserError:
    return UserError(f"reference.path: {shard} is no whole tar ({why})", remedy="copy or make the shard again")


def _annotated(path: Path, folder: Path) -> PictureSet:
    """The pictures that COCO's annotations list, by file name."""
    if not folder.is_dir():
        raise UserError("reference.path is no folder of COCO's images", given=str(folder),
                        remedy="name the folder that holds the images of reference.annotations")  # fmt: skip
    names = sorted(_file_names(path))
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"{len(missing)} of the {len(names)} images of reference.annotations are not in reference.path",
            given=str(folder / missing[0]), remedy="name the folder of the same part of COCO, or download the rest",
        )  # fmt: skip
    return PictureSet(f"images of {path.name}", [_place(folder / name, Path(name)) for name in names])


def _file_names(path: Path) -> set[str]:
    try:
        content: Any = json.loads(path.read_text())
        entries: Sequence[Mapping[str, Any]] = content["images"]
        return {str(entry["file_name"]) for entry in entries}
    except OSError as error:
        raise UserError("reference.annotations cannot be read", given=str(path), remedy="correct the path") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            "reference.annotations is no file of COCO's annotations", given=str(path),
            legal="JSON with `images`, each with its `file_name`, as captions_val2014.json",
            remedy="name such a file, or leave reference.annotations out to take all images of the folder",
        ) from error  # fmt: skip
