"""Templates -> one self-contained page: style and script inside it, and a policy that forbids everything else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from seedml import __version__

_TEMPLATES = Path(__file__).parent / "templates"
_SCRIPTS = ("report.js", "peek.js", "picker.js")
"""One script in this order: the first holds what the others call."""


def rendered(template: str, context: Mapping[str, Any], folder: Path = _TEMPLATES) -> str:
    """A page from ``template`` in ``folder``; it may import the parts that all pages share (``parts.html.j2``).

    Beside ``context`` it knows ``version``, ``style``, ``script`` and ``script_hash``. A name that is nowhere raises.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader([folder, _TEMPLATES]), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    script = Markup("\n").join(_own(name) for name in _SCRIPTS)
    shared = {
        "version": __version__, "style": _own("report.css"), "script": script,
        "script_hash": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }  # fmt: skip
    return environment.get_template(template).render(shared | dict(context))


def _own(name: str) -> Markup:
    """A file of this package, as it is: style and script are ours and hold nothing of the user's."""
    return Markup((_TEMPLATES / name).read_text())  # noqa: S704
