"""What a step tells: to its journal, which is the truth, and to W&B, which mirrors it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from seedml.config import StudyConfig, resolved
from seedml.tracking.cost import Meter
from seedml.tracking.journal import Journal, plain, safe_name
from seedml.tracking.mirror import Mirror, Patience
from seedml.tracking.origin import made_with
from seedml.tracking.secrecy import secrets_in, without_secrets
from seedml.tracking.server import Mode, chosen_mode

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from pytorch_lightning.loggers import Logger

_BINS = 30


class Tracker:
    """What a step may tell. Every call returns at once and none raises for the sake of a server.

    Args:
        journal: writes events to disk.
        mirror: repeats them to W&B.
        name: of the study, which artifacts are named after.

    """

    def __init__(self, journal: Journal | None = None, mirror: Mirror | None = None, name: str = "study") -> None:
        self._journal, self._mirror, self._name = journal, mirror, name

    def log(self, values: Mapping[str, object], step: int | None = None) -> None:
        """One row of numbers (or strings) that change in time; ``step`` counts what the caller counts.

        A step that goes on after a kill may count on from before the last row: rows that are there already stay as
        they are in W&B.
        """
        if self._journal is None:
            return
        row = plain(values)
        if step is not None:
            row["step"] = int(step)
        self._journal.row(row)
        self._mirrored()

    def best(self, metrics: Mapping[str, Literal["min", "max"]]) -> None:
        """Which value of a metric W&B's summary is to show: of a distance the least, of an accuracy the greatest."""
        for key, best in metrics.items():
            self._tell("define", key=key, best=best)

    def summary(self, values: Mapping[str, object]) -> None:
        """Numbers that sum the step up; a later value of a key replaces the earlier one."""
        self._tell("summary", values=plain(values))

    def image(self, key: str, image: Path | str | np.ndarray[Any, Any], caption: str = "") -> None:
        """A picture: a file, or an array H×W×3 or H×W, uint8 0..255."""
        if self._journal is not None:
            path = self._journal.keep_image(key, image)
            self._tell("image", key=key, path=self._journal.relative(path), caption=caption)

    def table(self, key: str, frame: pd.DataFrame) -> None:
        """A table, one row per seed or the like; never one row per image."""
        if self._journal is not None:
            path = self._journal.keep_table(key, frame)
            self._tell("table", key=key, path=self._journal.relative(path), rows=len(frame))

    def histogram(self, key: str, values: Sequence[float] | np.ndarray[Any, Any]) -> None:
        """How numbers are distributed: counts between equally spaced edges. Those that are no number are left out."""
        if self._journal is None:
            return
        import numpy as np

        numbers = np.asarray(values, dtype=np.float64)
        numbers = numbers[np.isfinite(numbers)]
        if len(numbers):
            counts, edges = np.histogram(numbers, bins=min(_BINS, max(len(numbers), 1)))
            self._tell("histogram", key=key, counts=counts.tolist(), edges=edges.tolist())

    def file(self, path: Path | str, kind: str, name: str | None = None) -> None:
        """A file or folder that the step made, as an artifact of type ``kind`` (``checkpoint``, ``table`` …).

        Args:
            path: the file. This version of it stays in the journal's folder even if it is replaced.
            kind: W&B's type of artifact.
            name: the artifact is called ``<study>-<name>``; without one, after the file.

        """
        if self._journal is None:
            return
        path = Path(path)
        version = {}
        if path.is_file():
            kept, digest = self._journal.keep_version(path)
            version = {"kept": self._journal.relative(kept), "sha256": digest}
        named = {"kind": kind, "name": self._artifact(name or path.stem)}
        self._tell("file", path=self._journal.relative(path), **named, **version)

    def references(
        self, name: str, kind: str, folder: Path, files: Mapping[str, str], metadata: Mapping[str, object] | None = None
    ) -> None:
        """Files that the step made, as an artifact that says where they are and holds no copies.

        Args:
            name: the artifact is called ``<study>-<name>``.
            kind: W&B's type of artifact.
            folder: the files are in it.
            files: path in the folder -> SHA-256 or another hash of what the file holds.
            metadata: further plain facts.

        """
        if self._journal is not None:
            place, facts = self._journal.relative(folder), plain(metadata or {})
            self._tell("references", name=self._artifact(name), kind=kind, folder=place, files=dict(files),
                       metadata=facts)  # fmt: skip

    def uses(self, *names: str) -> None:
        """Artifacts of this study that the step reads, as they were last told. One that was never told is left out."""
        for name in names:
            artifact = self._journal.latest_artifact(self._artifact(name)) if self._journal else None
            if artifact is not None:
                self._tell("uses", name=artifact["name"], artifact=artifact)

    def lightning_logger(self) -> Logger:
        """A Lightning logger that tells this tracker; it never ends the run."""
        return _lightning_logger(self)

    @property
    def mode(self) -> Mode:
        """Where W&B rows go; ``offline`` also after a server could not be reached. Waits until that is known."""
        return self._mirror.mode if self._mirror else "disabled"

    @property
    def sync_hint(self) -> str:
        """The command that sends an offline run to W&B; empty when there is nothing to send."""
        return self._mirror.sync_hint if self._mirror else ""

    def _artifact(self, name: str) -> str:
        return safe_name(f"{self._name}-{name}")

    def _tell(self, event: str, **fields: object) -> None:
        if self._journal is not None:
            self._journal.write(event, **fields)
            self._mirrored()

    def _mirrored(self) -> None:
        if self._mirror is not None and self._journal is not None:
            self._mirror.start(self._journal.path, self._journal.session)


class NullTracker(Tracker):
    """The same surface, telling nobody: for ranks above zero and for tests."""

    def __init__(self) -> None:
        super().__init__()


@contextmanager
def open_tracker(
    config: StudyConfig,
    step: str,
    run_dir: Path,
    *,
    announce: bool = True,
    settings: Mapping[str, Any] | None = None,
    patience: Patience | None = None,
) -> Iterator[Tracker]:
    """A tracker for one step: one W&B run, in the group of the study, of job type ``step``.

    Args:
        config: the study; its ``tracking`` section says where to.
        step: the step's name.
        run_dir: the run's folder; everything is written below it.
        announce: print, at the end, the run's address or how to send it.
        settings: what is said of how the results were made, plain types; ``None`` = the resolved configuration.
        patience: how long to wait for a server; share one among the steps of a study.

    """
    if not is_rank_zero(os.environ):
        yield NullTracker()
        return
    meter = Meter()
    said = without_secrets(resolved(config) if settings is None else settings, os.environ)
    element = os.environ.get("SLURM_ARRAY_TASK_ID")
    journal = Journal(run_dir, step, said, _about(config, step), made_with, secrets_in(os.environ), element)
    mode = chosen_mode(config.tracking.mode)
    mirror = None if mode == "disabled" else Mirror(run_dir, mode, patience or Patience())
    failed = True
    try:
        yield Tracker(journal, mirror, config.name)
        failed = False
    finally:
        journal.close(failed, meter.cost())
        if mirror is not None:
            mirror.finish(announce)


def _about(config: StudyConfig, step: str) -> dict[str, object]:
    """What names the W&B run."""
    tracking = config.tracking
    return {
        "project": tracking.project, "entity": tracking.entity, "group": tracking.group or config.name,
        "job_type": step, "name": f"{config.name} {step}", "tags": [step, config.model.name],
    }  # fmt: skip


def is_rank_zero(environ: Mapping[str, str]) -> bool:
    """Whether this process is the one that reports, as torchrun, Lightning's launcher and Slurm say it."""
    for name in ("RANK", "SLURM_PROCID"):
        if name in environ:
            return int(environ[name]) == 0
    return all(int(environ.get(name, "0")) == 0 for name in ("LOCAL_RANK", "NODE_RANK"))


def _lightning_logger(tracker: Tracker) -> Logger:
    from pytorch_lightning.loggers import Logger as LightningLogger

    class TrackerLogger(LightningLogger):
        """Lightning's rows, told to the step's tracker. ``step`` is the trainer's global step."""

        @property
        def name(self) -> str:
            return "seedml"

        @property
        def version(self) -> str:
            return ""

        def log_metrics(self, metrics: Mapping[str, object], step: int | None = None) -> None:
            tracker.log(metrics, step)

        def log_hyperparams(self, *args: object, **kwargs: object) -> None:
            """Nothing: the run has the whole resolved configuration already."""

    return TrackerLogger()
