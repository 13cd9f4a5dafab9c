"""One W&B run, told the events of a journal. The only file that imports wandb."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import wandb

from seedml.files import fingerprint, sha256_of
from seedml.tracking.journal import Event, cell
from seedml.tracking.server import Mode

INIT_SECONDS = 5.0
"""wandb's own limit for opening a run online; it adds about 10 s of its own (wandb 0.31)."""
TABLE_ROWS = 200_000
"""W&B cuts longer tables silently, so they are left on disk only."""
FAULTS = (wandb.Error, OSError, TimeoutError)
"""What wandb raises where W&B is at fault, a lost service among them."""


def base_url() -> str:
    """The server that W&B is going to use."""
    return str(wandb.setup().settings.base_url)


class WandbRun:
    """A run that is open. Each method sends one kind of event.

    Args:
        run: wandb's.
        root: the run folder of the study, which paths in the journal are relative to.

    """

    def __init__(self, run: Any, root: Path) -> None:
        self._run, self._root = run, root
        self._best: dict[str, str] = {}
        self._defined: set[str] = set()

    @property
    def first_row(self) -> int:
        """The number of the first row that the server does not have."""
        return int(self._run.starting_step)

    @property
    def url(self) -> str:
        """Where the run is shown; empty offline."""
        return "" if self._run.offline else str(self._run.url)

    @property
    def place(self) -> str:
        """Entity and project, as the server knows them."""
        return f"{self._run.entity}/{self._run.project}"

    @property
    def folder(self) -> Path:
        """Where wandb keeps it."""
        return Path(self._run.settings.sync_dir)

    def define(self, event: Event) -> None:
        """Which of a metric's values is the best one."""
        self._best[event["key"]] = event["best"]

    def log(self, event: Event, row: int) -> None:
        """A row of numbers. ``step``, where the row has one, is the axis of its other columns."""
        values = event["values"]
        for key in values.keys() - self._defined - {"step"}:
            if "step" in values or key in self._best:
                axis = {"step_metric": "step"} if "step" in values else {}
                self._run.define_metric(key, summary=self._best.get(key), **axis)
                self._defined.add(key)
        self._send(values, row)

    def image(self, event: Event, row: int) -> None:
        """A picture from its file."""
        path = self._root / event["path"]
        self._send({event["key"]: wandb.Image(str(path), caption=event["caption"] or None)}, row)

    def table(self, event: Event, row: int) -> None:
        """A table, if W&B would show all of it."""
        import pandas as pd

        if event["rows"] > TABLE_ROWS:
            return
        frame = pd.read_parquet(self._root / event["path"])
        columns: list[Any] = [str(name) for name in frame.columns]
        rows: list[Any] = [[cell(value) for value in line] for line in frame.itertuples(index=False, name=None)]
        self._send({event["key"]: wandb.Table(columns=columns, data=rows)}, row)

    def histogram(self, event: Event, row: int) -> None:
        """Counts between edges."""
        self._send({event["key"]: wandb.Histogram(np_histogram=(event["counts"], event["edges"]))}, row)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Numbers of the run's summary."""
        self._run.summary.update(dict(values))

    def made(self, event: Event) -> bool:
        """An artifact that this run made. ``False`` where its files are there no more."""
        artifact = self._artifact(event)
        if artifact is not None:
            self._run.log_artifact(artifact)
        return artifact is not None

    def uses(self, event: Event) -> bool:
        """An artifact that this run was made from. ``False`` where its files are gone or the server refuses.

        The same content is the same version to W&B, whoever sends it: there is no other step to wait for. Offline
        nothing can be said of it; :mod:`.track` does.
        """
        if self._run.offline:
            return True
        artifact = self._artifact(event["artifact"])
        if artifact is not None:
            try:
                self._run.use_artifact(artifact)
            except (ValueError, wandb.Error):
                return False
        return artifact is not None

    def finish(self, *, failed: bool, seconds: float | None) -> None:
        """End the run; waits for uploads that long, for ever without a limit.

        Raises:
            TimeoutError: not all was sent in time. What is left is on disk.

        """
        settings = self._run.settings
        settings.finish_timeout, settings.finish_timeout_raises = seconds or 0.0, True
        self._run.finish(exit_code=1 if failed else 0)

    def _send(self, values: Mapping[str, Any], row: int) -> None:
        self._run.log(dict(values), step=row, commit=True)

    def _artifact(self, event: Event) -> wandb.Artifact | None:
        return self._of_file(event) if event["event"] == "file" else self._of_references(event)

    def _of_file(self, event: Event) -> wandb.Artifact | None:
        path = self._root / str(event.get("kept", event["path"]))
        if not path.exists() or ("sha256" in event and sha256_of(path) != event["sha256"]):
            return None
        artifact = wandb.Artifact(event["name"], type=event["kind"], metadata={"sha256": event.get("sha256")})
        if path.is_dir():
            artifact.add_dir(str(path))
        else:
            artifact.add_file(str(path), name=Path(event["path"]).name)
        return artifact

    def _of_references(self, event: Event) -> wandb.Artifact | None:
        """Where the files are, not what is in them; a list of their hashes makes other content another version."""
        folder, files = self._root / event["folder"], event["files"]
        if not all((folder / name).exists() for name in files):
            return None
        metadata = {"files": len(files), "sha256": fingerprint(files), **event.get("metadata", {})}
        artifact = wandb.Artifact(event["name"], type=event["kind"], metadata=metadata)
        for name in sorted(files):
            artifact.add_reference((folder / name).resolve().as_uri(), name=name, checksum=False)
        with artifact.new_file("hashes.json") as stream:
            json.dump(dict(sorted(files.items())), stream, indent=1)
        return artifact


def open_run(start: Event, root: Path, mode: Mode, run_id: str, *, watched: int | None = None) -> WandbRun:
    """Open the W&B run of a session; online, the one of that id goes on where there is one.

    Args:
        start: the session's first event: its configuration, project, group and the like.
        root: everything that wandb writes goes to this folder's ``wandb`` (:func:`wandb_places`).
        mode: ``online`` or ``offline``.
        run_id: the run's id.
        watched: the process whose use of the machine W&B shows; ``None`` = this one.

    """
    about = start["about"]
    wanted: dict[str, Any] = {
        "mode": mode, "root_dir": str(root), "silent": True, "console": "off", "save_code": False, "disable_git": True,
        "disable_code": True, "reinit": "create_new", "init_timeout": INIT_SECONDS,
        "x_transaction_log_flush_interval": 1.0,
    }  # fmt: skip
    if watched is not None:
        wanted["x_stats_pid"] = watched
    if mode == "online":
        wanted["resume"] = "allow"
    linked = {"resumed_from": start["resumed_from"]} if mode == "offline" and "resumed_from" in start else {}
    known = {key: value for key, value in wanted.items() if key in wandb.Settings.model_fields}
    run = wandb.init(
        id=run_id, project=about["project"], entity=about["entity"], group=about["group"], job_type=about["job_type"],
        name=about["name"], tags=about["tags"], config={**start["config"], **linked}, allow_val_change=True,
        settings=wandb.Settings(**known),
    )  # fmt: skip
    return WandbRun(run, root)
