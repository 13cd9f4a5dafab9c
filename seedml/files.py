"""Files that are whole or absent: atomic writes, hashes, and the markers that say a step is done.

Knows nothing of what is in the files.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from seedml.errors import UserError

_BLOCK = 1 << 20


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder that becomes ``path`` when the block ends without an exception.

    The file's content is on disk before the name appears, and the name is on disk before this returns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o644)  # mkstemp and safetensors write 0600, which bites on shared storage
        temporary.replace(path)
        _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def atomic_write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` so that readers see the old file or the new one, never a part."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def atomic_write_text(path: Path, text: str) -> None:
    """:func:`atomic_write_bytes` for UTF-8 text."""
    atomic_write_bytes(path, text.encode())


def atomic_write_json(path: Path, value: object) -> None:
    """Write ``value`` as indented JSON. NaN is refused: it is not JSON, and other readers choke on it."""
    atomic_write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, object]:
    """The JSON object in ``path``.

    Raises:
        UserError: the file is missing or is not a JSON object.

    """
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error})", remedy="run the step that writes it again") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} holds no JSON object", remedy="run the step that writes it again")
    return value


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def fingerprint(settings: Mapping[str, object]) -> str:
    """Hex SHA-256 of ``settings`` as canonical JSON: equal settings, equal fingerprint, in any key order."""
    canonical = json.dumps(settings, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def differing_keys(old: Mapping[str, object], new: Mapping[str, object], prefix: str = "") -> list[str]:
    """Dotted names of the settings that are not the same in both, sorted."""
    names: list[str] = []
    for key in sorted(old.keys() | new.keys()):
        left, right = old.get(key), new.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            names += differing_keys(left, right, f"{prefix}{key}.")
        elif left != right:
            names.append(f"{prefix}{key}")
    return names


def _step_marker(run_dir: Path, step: str) -> Path:
    return run_dir / ".steps" / f"{step}.json"


def step_is_done(run_dir: Path, step: str, settings: Mapping[str, object]) -> bool:
    """Whether ``step`` already ran in ``run_dir`` with exactly these settings.

    Raises:
        UserError: it ran there with other settings; names the keys that differ. Nothing is touched.

    """
    marker = _step_marker(run_dir, step)
    if not marker.exists():
        return False
    old = read_json(marker)
    normal = json.loads(json.dumps(settings))
    if old == normal:
        return True
    raise UserError(
        f"{run_dir} holds results of `{step}` made with other settings: {', '.join(differing_keys(old, normal))}",
        remedy=f"choose another name=…, put the old settings back, or delete {marker} to have them made anew",
    )


def step_settings(run_dir: Path, step: str) -> dict[str, object] | None:
    """The settings with which ``step`` is done in ``run_dir``; ``None`` where it is not."""
    marker = _step_marker(run_dir, step)
    return read_json(marker) if marker.exists() else None


def finish_step(run_dir: Path, step: str, settings: Mapping[str, object]) -> None:
    """Say that ``step`` is done in ``run_dir`` with these settings. Call it last."""
    atomic_write_json(_step_marker(run_dir, step), settings)
