"""Python, the libraries that the package requires, and the extras that this study needs."""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from seedml.doctor.findings import MISSING, NOTE, OK, Finding
from seedml.models.bundled import draws_scenes

if TYPE_CHECKING:
    from seedml.config import StudyConfig

PACKAGE = "seedml"
_SHOWN = ("torch", "diffusers", "transformers", "pytorch-lightning", "wandb")


def look_at_libraries(config: StudyConfig) -> Iterator[Finding]:
    """What is installed, against what the package asks for."""
    wrong = [problem for requirement in required() if (problem := _problem(requirement))]
    if wrong:
        yield Finding("libraries", MISSING, "; ".join(wrong), f"pip install --upgrade {PACKAGE}")
    else:
        shown = ", ".join(f"{name} {version(name)}" for name in _SHOWN)
        yield Finding("libraries", OK, f"Python {platform.python_version()}, {shown}")
    for extra, why, state in _extras(config):
        problems = [problem for requirement in required(extra) if (problem := _problem(requirement))]
        yield (
            Finding(f"extra {extra}", state, f"{why}: {'; '.join(problems)}", f"pip install '{PACKAGE}[{extra}]'")
            if problems
            else Finding(f"extra {extra}", OK, why)
        )


def required(extra: str = "") -> list[Requirement]:
    """What the package asks for, always or with one of its extras."""
    declared = _declared_in_checkout(extra)
    if declared is not None:
        return [Requirement(line) for line in declared]
    every = [Requirement(line) for line in requires(PACKAGE) or []]
    always = [one for one in every if one.marker is None or one.marker.evaluate({"extra": ""})]
    if not extra:
        return always
    return [one for one in every if one not in always and one.marker and one.marker.evaluate({"extra": extra})]


def _declared_in_checkout(extra: str) -> list[str] | None:
    """As the checkout's ``pyproject.toml`` has it: what an editable installation says of itself grows old."""
    path = Path(__file__).resolve().parents[2] / "pyproject.toml"
    if not path.is_file():
        return None
    project = tomllib.loads(path.read_text())["project"]
    found: list[str] = project["optional-dependencies"].get(extra, []) if extra else project["dependencies"]
    return found


def _problem(requirement: Requirement) -> str:
    """What is wrong with an installed library; empty where nothing is."""
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return f"{requirement.name} is not installed"
    if requirement.specifier.contains(installed, prereleases=True):
        return ""
    return f"{requirement.name} is {installed}, needed is {requirement.specifier}"


def _extras(config: StudyConfig) -> Iterator[tuple[str, str, str]]:
    """Extra, what it is needed for, and the state where it is not there."""
    scenes = draws_scenes(config.model.path)
    if "inpainting" in config.apply.run and not (scenes and config.apply.inpaint_model is None):
        yield "ocr", "reads letters in filled masks", MISSING
    elif config.measure.networks.get("lettering") == "rapidocr":
        yield "ocr", "reads letters in pictures (measure.networks.lettering)", MISSING
    elif "lettering" in config.measure.attributes and not scenes:
        yield "ocr", "reads letters in pictures; without it the attribute lettering is unknown", NOTE
