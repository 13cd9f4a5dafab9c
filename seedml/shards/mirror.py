"""A data set's folder behind an fsspec URL (S3, GCS, another disk …): finished shards go up, missing ones come down.

What is worked on is always local. Of each shard the tar goes up first, then the table, then the marker: as on disk, a
shard exists there when its marker does.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedml.errors import UserError
from seedml.progress import track
from seedml.shards.commit import pending_path

if TYPE_CHECKING:
    from seedml.config import StudyConfig

_ENDINGS = (".tar", ".parquet", ".json")
"""Of a shard's files, the marker last."""


class Mirror:
    """The remote side of a local folder.

    Args:
        url: of the remote folder, such as ``s3://bucket/studies/quickstart``.
        folder: the local one.

    Raises:
        UserError: no such protocol, or its library is not installed.

    """

    def __init__(self, url: str, folder: Path) -> None:
        import fsspec

        try:
            self._remote, self._root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError) as error:
            raise UserError(
                f"shards.url cannot be opened: {error}", given=url,
                legal="a URL that fsspec knows, such as s3://bucket/folder, gs://…, file:///folder, memory://folder",
                remedy="check the protocol, and install its library (s3fs, gcsfs, adlfs …)",
            ) from error  # fmt: skip
        self._root, self._folder = self._root.rstrip("/"), folder

    def names(self) -> set[str]:
        """The files there; none where the folder does not exist."""
        try:
            found: list[Any] = self._remote.ls(self._root, detail=False, refresh=True)
        except FileNotFoundError:
            return set()
        return {str(path).rstrip("/").rpartition("/")[2] for path in found}

    def upload(self, path: Path) -> None:
        """Copy one local file up."""
        self._remote.makedirs(self._root, exist_ok=True)
        with path.open("rb") as source, self._remote.open(f"{self._root}/{path.name}", "wb") as target:
            shutil.copyfileobj(source, target, 1 << 20)

    def download(self, name: str) -> None:
        """Copy one file down; it appears whole or not at all."""
        with (
            pending_path(self._folder / name) as temporary,
            self._remote.open(f"{self._root}/{name}", "rb") as source,
            temporary.open("wb") as target,
        ):
            shutil.copyfileobj(source, target, 1 << 20)

    def publish(self, shard: Path) -> None:
        """Copy a finished shard up: tar, table, marker."""
        for ending in _ENDINGS:
            self.upload(shard.with_suffix(ending))

    def pull_small(self) -> None:
        """Bring down ``dataset.json``, and tables and markers of shards that are finished there but not here."""
        there = self.names()
        wanted = [name for name in sorted(there) if name.endswith(".json") and not (self._folder / name).exists()]
        for name in wanted:
            table = f"{name.removesuffix('.json')}.parquet"
            if table in there:
                self.download(table)
            self.download(name)

    def push_missing(self, first: str) -> None:
        """Publish the file ``first``, then shards, that are here but not there or differ: what a run did not get to."""
        there = self.names()
        if first not in there:
            self.upload(self._folder / first)
        shards = [path.with_suffix(".tar") for path in sorted(self._folder.glob("*-[0-9]*.json"))]
        local = [shard for shard in shards if shard.exists() and not self._is_there(shard, there)]
        for shard in track(local, "upload shards", unit="shards") if local else ():
            self.publish(shard)

    def _is_there(self, shard: Path, there: set[str]) -> bool:
        marker = shard.with_suffix(".json")
        same: bool = (
            marker.name in there and self._remote.cat_file(f"{self._root}/{marker.name}") == marker.read_bytes()
        )
        return same

    def pull(self, shards: Sequence[Path]) -> None:
        """Bring down the tars of finished shards that are not here."""
        absent = [shard for shard in shards if shard.with_suffix(".json").exists() and not shard.exists()]
        for shard in track(absent, "download shards", unit="shards") if absent else ():
            self.download(shard.name)


def mirror_of(config: StudyConfig) -> Mirror | None:
    """The study's mirror; ``None`` where it has none."""
    return Mirror(config.shards.url.rstrip("/") + f"/{config.name}", config.shard_dir) if config.shards.url else None
