"""Telling the world what a step does: a journal on disk, which is the truth, and Weights & Biases, which mirrors it.

The only file that imports wandb. A step gets a :class:`Tracker` and calls it without asking whether anything listens:
ranks above zero get a :class:`NullTracker`. W&B is opened at the first call, so a step that finds its work done leaves
no empty run; nothing in here knows what the numbers mean.

On disk: ``<run_dir>/tracking/<step>.jsonl``, one event a line, ``<run_dir>/tracking/<step>/`` for its pictures and
tables, and ``<run_dir>/wandb/`` for everything that wandb writes.
"""

from __future__ import annotations

import json
import math
import netrc
import os
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from seedml.config import StudyConfig, resolved
from seedml.errors import UserError
from seedml.files import atomic_path

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from pytorch_lightning.loggers import Logger

Mode = Literal["online", "offline", "disabled"]

PROBE_SECONDS = 3.0
"""How long a server may take to answer at all before a run goes offline."""
INIT_SECONDS = 5.0
"""wandb's own limit for opening a run online; it adds about 10 s of its own (wandb 0.31)."""
FINISH_SECONDS = 15.0
"""How long the end of a step waits for uploads. What is left is on disk and can be synced."""
TABLE_ROWS = 200_000
"""W&B cuts longer tables silently, so they are left on disk only."""


class Tracker:
    """What a step may tell. Every call returns at once and none raises for the sake of a server.

    Args:
        journal: writes events to disk.
        mirror: repeats them to W&B.

    """

    def __init__(self, journal: Journal | None = None, mirror: WandbMirror | None = None) -> None:
        self._journal, self._mirror = journal, mirror

    def log(self, values: Mapping[str, object], step: int | None = None) -> None:
        """One row of numbers (or strings) that change in time; ``step`` counts what the caller counts."""
        row = plain(values)
        if step is not None:
            row["step"] = int(step)
        self._tell("log", values=row)
        if self._mirror:
            self._mirror.log(row)

    def summary(self, values: Mapping[str, object]) -> None:
        """Numbers that sum the step up; a later value of a key replaces the earlier one."""
        row = plain(values)
        self._tell("summary", values=row)
        if self._mirror:
            self._mirror.summary(row)

    def image(self, key: str, image: Path | str | np.ndarray[Any, Any], caption: str = "") -> None:
        """A picture: a file, or an array H×W×3 or H×W, uint8 0..255."""
        if self._journal is None:
            return
        path = self._journal.keep_image(key, image)
        self._tell("image", key=key, path=self._journal.relative(path), caption=caption)
        if self._mirror:
            self._mirror.image(key, path, caption)

    def table(self, key: str, frame: pd.DataFrame) -> None:
        """A table, one row per seed or the like; never one row per image."""
        if self._journal is None:
            return
        path = self._journal.keep_table(key, frame)
        self._tell("table", key=key, path=self._journal.relative(path), rows=len(frame))
        if self._mirror:
            self._mirror.table(key, frame)

    def file(self, path: Path | str, kind: str) -> None:
        """A file or folder that the step made, as an artifact of type ``kind`` (``checkpoint``, ``table`` …)."""
        if self._journal is None:
            return
        self._tell("file", path=self._journal.relative(Path(path)), kind=kind)
        if self._mirror:
            self._mirror.file(Path(path), kind)

    def lightning_logger(self) -> Logger:
        """A Lightning logger that tells this tracker; it never ends the run."""
        return _lightning_logger(self)

    @property
    def mode(self) -> Mode:
        """Where W&B rows go; ``offline`` also after a server could not be reached."""
        return self._mirror.mode if self._mirror else "disabled"

    @property
    def sync_hint(self) -> str:
        """The command that sends an offline run to W&B; empty when there is nothing to send."""
        return self._mirror.sync_hint if self._mirror else ""

    def _tell(self, event: str, **fields: object) -> None:
        if self._journal is not None:
            self._journal.write(event, **fields)

    def _close(self, failed: bool) -> None:
        if self._journal is not None:
            self._journal.close(failed)
        if self._mirror:
            self._mirror.finish(failed)


class NullTracker(Tracker):
    """The same surface, telling nobody: for ranks above zero and for tests."""

    def __init__(self) -> None:
        super().__init__()


@contextmanager
def open_tracker(
    config: StudyConfig, step: str, run_dir: Path, *, announce: bool = True, settings: Mapping[str, Any] | None = None
) -> Iterator[Tracker]:
    """A tracker for one step: one W&B run, in the group of the study, of job type ``step``.

    Args:
        config: the study; its ``tracking`` section says where to.
        step: the step's name.
        run_dir: the run's folder; everything is written below it.
        announce: print, at the end, the run's address or how to sync it.
        settings: what is said of how the results were made, plain types; ``None`` = the resolved configuration.

    """
    if not is_rank_zero(os.environ):
        yield NullTracker()
        return
    said = without_secrets(resolved(config) if settings is None else settings, os.environ)
    journal = Journal(run_dir, step, said)
    mode = _mode(config.tracking.mode)
    mirror = None if mode == "disabled" else WandbMirror(config, step, run_dir, said, mode)
    tracker = Tracker(journal, mirror)
    try:
        yield tracker
    except BaseException:
        tracker._close(failed=True)
        raise
    tracker._close(failed=False)
    if announce and mirror is not None and mirror.line:
        _say(mirror.line)


# --- the journal -----------------------------------------------------------------------------------------------------


class Journal:
    """The truth: events of one step, one JSON object a line, each line written before the call returns.

    Args:
        run_dir: the run's folder.
        step: the step's name, which names the file.
        settings: resolved configuration, written once per session.

    """

    def __init__(self, run_dir: Path, step: str, settings: Mapping[str, object]) -> None:
        self._run_dir, self._settings = run_dir, settings
        self.path = run_dir / "tracking" / f"{step}.jsonl"
        self._media = run_dir / "tracking" / step
        self._stream: Any = None

    def write(self, event: str, **fields: object) -> None:
        """Append one event with the time (Unix seconds); the first one of a session is preceded by ``start``."""
        if self._stream is None:
            self._open()
        self._line({"time": time.time(), "event": event, **fields})

    def keep_image(self, key: str, image: Path | str | np.ndarray[Any, Any]) -> Path:
        """The image's file: its own, or a PNG made here of an array H×W×3 or H×W, uint8."""
        if isinstance(image, str | Path):
            return Path(image)
        from PIL import Image

        target = self._unused(key, "png")
        with atomic_path(target) as temporary:
            Image.fromarray(image).save(temporary, format="PNG")
        return target

    def keep_table(self, key: str, frame: pd.DataFrame) -> Path:
        """A Parquet file of the table, made here."""
        target = self._unused(key, "parquet")
        with atomic_path(target) as temporary:
            frame.to_parquet(temporary, index=False)
        return target

    def relative(self, path: Path) -> str:
        """``path`` as seen from the run's folder, where it lies in there."""
        path, root = path.resolve(), self._run_dir.resolve()
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    def close(self, failed: bool) -> None:
        """End the session, if one began."""
        if self._stream is not None:
            self._line({"time": time.time(), "event": "finish", "failed": failed})
            self._stream.close()
            self._stream = None

    def _open(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        torn = self.path.exists() and self.path.stat().st_size and self.path.read_bytes()[-1:] != b"\n"
        self._stream = self.path.open("a", encoding="utf-8", buffering=1)
        if torn:  # the last session was killed in mid-line: its rest must not swallow our first line
            self._stream.write("\n")
        self._line({"time": time.time(), "event": "start", "config": self._settings})

    def _line(self, event: Mapping[str, object]) -> None:
        self._stream.write(json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n")

    def _unused(self, key: str, suffix: str) -> Path:
        stem = _safe_name(key)
        taken = len(list(self._media.glob(f"{stem}-*.{suffix}")))
        return self._media / f"{stem}-{taken:04d}.{suffix}"


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The events in a journal, oldest first. A line that a kill has torn is left out."""
    events = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events


def history(path: Path) -> list[dict[str, Any]]:
    """The rows logged in a journal, oldest first."""
    return [event["values"] for event in read_journal(path) if event["event"] == "log"]


def plain(values: Mapping[str, object]) -> dict[str, Any]:
    """``values`` as JSON can hold them: numpy and torch scalars as numbers, NaN and infinities as W&B spells them."""
    return {str(key): _plain(value) for key, value in values.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return plain(value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and getattr(value, "ndim", 0) == 0:
        value = value.item()
    elif hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _cell(value: Any) -> Any:
    """A table's cell: like a row's value, but empty where there is no number, as W&B's columns have one type."""
    value = _plain(value)
    return None if value == "NaN" else value


# --- the mirror ------------------------------------------------------------------------------------------------------


class WandbMirror:
    """One W&B run, opened at the first call. It never raises: a fault ends the mirroring with one line, not the step.

    Args:
        config: the study.
        step: the run's job type.
        run_dir: everything wandb writes goes to its ``wandb`` folder.
        settings: resolved configuration without secrets, plain types.
        mode: ``online`` or ``offline``.

    """

    def __init__(
        self, config: StudyConfig, step: str, run_dir: Path, settings: Mapping[str, object], mode: Mode
    ) -> None:
        self.mode: Mode = mode
        self._config, self._step, self._settings = config, step, settings
        self._folder = run_dir.resolve()
        self._run: Any = None
        self._broken = False
        self._environment = ExitStack()
        self._stepped: set[str] = set()

    def log(self, row: Mapping[str, Any]) -> None:
        """One history row. ``step`` is a column: W&B drops rows whose own step goes backwards."""

        def tell(run: Any) -> None:
            for key in row.keys() - self._stepped - {"step"} if "step" in row else ():
                run.define_metric(key, step_metric="step")
                self._stepped.add(key)
            run.log(dict(row))

        self._with_run(tell)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Numbers of the run's summary."""
        self._with_run(lambda run: run.summary.update(dict(values)))

    def image(self, key: str, path: Path, caption: str) -> None:
        """A picture from a file."""
        import wandb

        self._with_run(lambda run: run.log({key: wandb.Image(str(path), caption=caption or None)}))

    def table(self, key: str, frame: pd.DataFrame) -> None:
        """A table, if W&B would show all of it."""
        import wandb

        if len(frame) > TABLE_ROWS:
            _say(f"table {key} has {len(frame)} rows, more than W&B shows; it is on disk only")
            return
        columns: list[Any] = [str(name) for name in frame.columns]
        rows: list[Any] = [[_cell(value) for value in row] for row in frame.itertuples(index=False, name=None)]
        self._with_run(lambda run: run.log({key: wandb.Table(columns=columns, data=rows)}))

    def file(self, path: Path, kind: str) -> None:
        """A file or folder as an artifact ``<study>-<file name>``."""
        import wandb

        def tell(run: Any) -> None:
            artifact = wandb.Artifact(_safe_name(f"{self._config.name}-{path.stem}"), type=_safe_name(kind))
            (artifact.add_dir if path.is_dir() else artifact.add_file)(str(path))
            run.log_artifact(artifact)

        self._with_run(tell)

    def finish(self, failed: bool) -> None:
        """End the run; waits for uploads no longer than ``FINISH_SECONDS``."""
        try:
            if self._run is not None:
                self._with_run(lambda run: run.finish(exit_code=1 if failed else 0))
        finally:
            self._environment.close()

    @property
    def sync_hint(self) -> str:
        """The command that sends this run to W&B; empty when it is there already or never began."""
        if self._run is None or (self.mode == "online" and not self._broken):
            return ""
        return f"wandb sync {self._run.settings.sync_dir}"

    @property
    def line(self) -> str:
        """What to tell the user at the end."""
        if self._run is None:
            return ""
        hint = self.sync_hint
        return f"W&B run kept offline; to send it: {hint}" if hint else f"W&B run: {self._run.url}"

    def _with_run(self, tell: Callable[[Any], object]) -> None:
        """Tell the open run something. wandb's faults, a lost service among them, end the mirroring, not the study."""
        import wandb

        if self._broken:
            return
        try:
            if self._run is None:
                self._open()
            tell(self._run)
        except (wandb.Error, OSError, TimeoutError) as error:
            self._broken = True
            _say(f"W&B: {_short(error)}; the study goes on, its journal is in {self._folder}/tracking")
            if isinstance(error, ConnectionError):  # the service is dead, and its import hooks would raise from now on
                with suppress(wandb.Error, OSError):
                    wandb.teardown(exit_code=1)

    def _open(self) -> None:
        import wandb

        (self._folder / "wandb").mkdir(parents=True, exist_ok=True)
        self._environment.enter_context(_wandb_environment(self._folder))
        if self.mode == "online" and not _answers(_base_url()):
            _say(f"W&B: {_base_url()} does not answer within {PROBE_SECONDS:g} s; this run is kept offline")
            self.mode = "offline"
        try:
            self._run = self._init()
        except (wandb.Error, OSError, TimeoutError) as error:
            if self.mode == "offline":
                raise
            _say(f"W&B: {_short(error)}; this run is kept offline")
            self.mode = "offline"
            self._run = self._init()

    def _init(self) -> Any:
        import wandb

        tracking = self._config.tracking
        wanted: dict[str, Any] = {
            "mode": self.mode, "root_dir": str(self._folder), "silent": True, "console": "off", "save_code": False,
            "reinit": "create_new", "init_timeout": INIT_SECONDS, "finish_timeout": FINISH_SECONDS,
            "finish_timeout_raises": True, "x_transaction_log_flush_interval": 1.0,
        }  # fmt: skip
        known = {key: value for key, value in wanted.items() if key in wandb.Settings.model_fields}
        return wandb.init(
            project=tracking.project, entity=tracking.entity, group=tracking.group or self._config.name,
            job_type=self._step, name=f"{self._config.name} {self._step}", tags=[self._step, self._config.model.name],
            config=dict(self._settings), settings=wandb.Settings(**known),
        )  # fmt: skip


def _mode(wanted: str) -> Mode:
    """The mode that ``tracking.mode`` means on this machine; ``auto`` heeds WANDB_MODE, then looks for an API key."""
    if wanted == "online" and not _has_credentials():
        raise UserError(
            "tracking.mode is online but no W&B API key is configured", given=wanted,
            remedy="`wandb login`, or export WANDB_API_KEY, or tracking.mode=offline",
        )  # fmt: skip
    if wanted == "auto":
        wanted = os.environ.get("WANDB_MODE", "") or ("online" if _has_credentials() else "offline")
    if wanted in ("online", "offline", "disabled"):
        return wanted  # type: ignore[return-value]
    raise UserError(
        "tracking.mode", given=wanted, legal="auto, online, offline, disabled",
        remedy="correct tracking.mode, or WANDB_MODE in the environment",
    )  # fmt: skip


def _has_credentials() -> bool:
    """Whether an API key is configured: in the environment, or in netrc for W&B's host."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    if not path.is_file():
        return False
    try:
        hosts = netrc.netrc(path).hosts
    except (netrc.NetrcParseError, OSError) as error:
        _say(f"{path} cannot be read ({error}); W&B runs are kept offline")
        return False
    own = urlsplit(os.environ.get("WANDB_BASE_URL", "")).netloc
    usual = [own] if own else ["api.wandb.ai", "api.forge.coreweave.com"]
    return any(host in hosts for host in usual) or bool(hosts and urlsplit(_base_url()).netloc in hosts)


def _base_url() -> str:
    import wandb

    return os.environ.get("WANDB_BASE_URL") or str(wandb.setup().settings.base_url)


def _answers(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Whether anything answers HTTP at ``url`` in time. In a thread: looking a name up has no time limit of its own."""
    answered = threading.Event()

    def ask() -> None:
        try:
            with urllib.request.urlopen(url, timeout=seconds):  # noqa: S310 (the address W&B itself is going to use)
                answered.set()
        except urllib.error.HTTPError:
            answered.set()  # "not found" is an answer
        except (OSError, ValueError):
            return

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


@contextmanager
def _wandb_environment(folder: Path) -> Iterator[None]:
    """Send everything wandb keeps into ``folder/wandb`` while the block lasts; the environment is put back after it."""
    places = {"WANDB_DIR": folder, "WANDB_DATA_DIR": folder / "wandb" / "data"}
    places |= {"WANDB_CACHE_DIR": folder / "wandb" / "cache", "WANDB_ARTIFACT_DIR": folder / "wandb" / "artifacts"}
    before = {name: os.environ.get(name) for name in places}
    os.environ.update({name: str(path) for name, path in places.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# --- small things ----------------------------------------------------------------------------------------------------


def is_rank_zero(environ: Mapping[str, str]) -> bool:
    """Whether this process is the one that reports, as torchrun, Lightning's launcher and Slurm say it."""
    for name in ("RANK", "SLURM_PROCID"):
        if name in environ:
            return int(environ[name]) == 0
    return all(int(environ.get(name, "0")) == 0 for name in ("LOCAL_RANK", "NODE_RANK"))


_SECRET_WORDS = ("KEY", "TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL")
_SHORTEST_SECRET = 8


def without_secrets(settings: Mapping[str, Any], environ: Mapping[str, str]) -> dict[str, Any]:
    """``settings`` with every value of a secret-looking environment variable struck out."""
    secrets = [
        value
        for name, value in environ.items()
        if len(value) >= _SHORTEST_SECRET and any(word in name.upper() for word in _SECRET_WORDS)
    ]
    return {key: _strike(value, secrets) for key, value in settings.items()}


def _strike(value: Any, secrets: list[str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _strike(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strike(item, secrets) for item in value]
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "(secret)")
    return value


def _safe_name(text: str) -> str:
    """``text`` with only what file names and W&B names both allow."""
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in text).strip("-") or "unnamed"


def _short(error: BaseException) -> str:
    """An error in one line; a server's may be a whole web page."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= 160 else text[:157] + '...'}"


def _say(line: str) -> None:
    print(line, file=sys.stderr)


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
