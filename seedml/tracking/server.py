"""Where W&B is, whether it answers, and whether we have an account there. Imports no wandb."""

from __future__ import annotations

import configparser
import json
import netrc
import os
import sys
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from seedml.errors import UserError

Mode = Literal["online", "offline", "disabled"]

PROBE_SECONDS = 3.0
"""How long a server may take to answer at all before a run goes offline."""


def chosen_mode(wanted: str) -> Mode:
    """The mode that ``tracking.mode`` means on this machine; ``auto`` heeds WANDB_MODE, then looks for an API key."""
    if wanted == "online" and not has_credentials():
        raise no_key(wanted)
    if wanted == "auto":
        wanted = os.environ.get("WANDB_MODE", "") or ("online" if has_credentials() else "offline")
    if wanted in ("online", "offline", "disabled"):
        return wanted  # type: ignore[return-value]
    raise UserError(
        "tracking.mode", given=wanted, legal="auto, online, offline, disabled",
        remedy="correct tracking.mode, or WANDB_MODE in the environment",
    )  # fmt: skip


def no_key(wanted: str | None = None) -> UserError:
    """The error where a server is wanted and no account is known."""
    what, remedy = "no W&B API key is configured", "`wandb login`, or export WANDB_API_KEY"
    if wanted is None:
        return UserError(what, remedy=remedy)
    return UserError(
        f"tracking.mode is {wanted} but {what}", given=wanted, remedy=f"{remedy}, or tracking.mode=offline"
    )


def has_credentials() -> bool:
    """Whether an API key is configured: in the environment, or in netrc for W&B's host."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    if not path.is_file():
        return False
    try:
        hosts = netrc.netrc(path).hosts
    except (netrc.NetrcParseError, OSError) as error:
        print(f"{path} cannot be read ({error}); W&B runs are kept offline", file=sys.stderr)
        return False
    own = configured_url()
    usual = [urlsplit(own).netloc] if own else ["api.wandb.ai", "api.forge.coreweave.com"]
    return any(host in hosts for host in usual)


def configured_url() -> str | None:
    """The server that the environment or wandb's settings file names; ``None`` = wandb's own default."""
    named = os.environ.get("WANDB_BASE_URL")
    if named:
        return named
    parser = configparser.ConfigParser(interpolation=None)  # addresses may hold %
    folder = Path(os.environ.get("WANDB_CONFIG_DIR", "~/.config/wandb")).expanduser()
    try:
        parser.read([folder / "settings", Path("wandb") / "settings"])
    except (configparser.Error, UnicodeDecodeError):
        return None
    return parser.get("default", "base_url", fallback=None)


def answers(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Whether a W&B server answers at ``url`` in time: JSON, even if it is a refusal, to an empty question.

    In a thread: looking a name up has no time limit of its own.
    """
    answered = threading.Event()
    question = urllib.request.Request(  # noqa: S310 (the address W&B itself is going to use)
        url.rstrip("/") + "/graphql", data=b'{"query": "query Viewer { viewer { id } }"}',
        headers={"Content-Type": "application/json", "User-Agent": "seedml"},
    )  # fmt: skip

    def ask() -> None:
        try:
            with urllib.request.urlopen(question, timeout=seconds) as answer:  # noqa: S310
                json.load(answer)
        except urllib.error.HTTPError as refusal:
            if refusal.code >= 500 or not _is_json(refusal.read()):
                return
        except (OSError, ValueError):
            return
        answered.set()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    return answered.is_set()


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
