"""One tile's records -> tar, table, marker. The shard appears whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from seedml.files import sha256_of
from seedml.shards.commit import PendingFile, pending_path
from seedml.shards.format import OK, Marker, Record


class ShardWriter:
    """Writes ``<folder>/<name>.tar``, then ``.parquet``, then ``.json``. Add records in the tile's order, then commit.

    As a context manager it commits at the end of the block, or aborts on an exception. The same records give the same
    bytes: members carry no time and no user.

    Args:
        folder: the data set's.
        name: the tile's.
        image_format: ``png``, ``webp`` or ``jpg``: the ending of the image member.
        fingerprint: of the settings; goes into the marker.

    """

    def __init__(self, folder: Path, name: str, image_format: str, fingerprint: str) -> None:
        self._folder, self._name = folder, name
        self._image_format, self._fingerprint = image_format, fingerprint
        self._records: list[dict[str, object]] = []
        self._count = 0
        self._pending = PendingFile(folder / f"{name}.tar")
        self._stream = _HashedFile(self._pending.temporary)
        self._tar = tarfile.open(fileobj=self._stream, mode="w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115

    def add(self, record: Record) -> None:
        """Append one cell. The image bytes go to the temporary tar at once and are not kept."""
        for name, data in record.members(self._image_format):
            member = tarfile.TarInfo(name)  # mtime 0, uid and gid 0, mode 0644
            member.size = len(data)
            self._tar.addfile(member, io.BytesIO(data))
        self._records.append(record.row())
        self._count += record.status == OK

    def commit(self) -> Marker:
        """Make the shard exist: tar, table and, last of all, marker are on disk when this returns."""
        self._tar.close()
        self._stream.close()
        marker_path = self._folder / f"{self._name}.json"
        marker_path.unlink(missing_ok=True)  # a shard that is made again does not exist in between
        self._pending.commit()
        table_sha256 = _write_table(self._folder / f"{self._name}.parquet", self._records)
        marker = Marker(
            count=self._count, cells=len(self._records), bytes=self._stream.size, sha256=self._stream.sha256,
            table_sha256=table_sha256, fingerprint=self._fingerprint,
        )  # fmt: skip
        with pending_path(marker_path) as temporary:
            temporary.write_text(json.dumps(marker.as_dict(), indent=2) + "\n")
        return marker

    def abort(self) -> None:
        """Forget the tile; the temporary file is deleted."""
        with suppress(OSError):  # on a full disk the last buffer cannot be written; nobody wants it
            self._stream.close()
        self._pending.abort()

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.abort()  # nothing to do after a commit


class _HashedFile(io.RawIOBase):
    """A file that is written from front to back and knows its hash and size at the end."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb")
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def tell(self) -> int:
        return self.size

    def writable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _write_table(path: Path, rows: Sequence[dict[str, object]]) -> str:
    """One row a requested cell, failures included; returns the file's SHA-256."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole, text = pa.int64(), pa.string()
    schema = pa.schema({
        "seed": whole, "prompt_id": whole, "prompt": text, "split": text, "key": text, "status": text, "reason": text,
        "noise_sha256": text, "height": pa.int32(), "width": pa.int32(), "bytes": whole,
    })  # fmt: skip
    with pending_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), temporary)
        return sha256_of(temporary)
