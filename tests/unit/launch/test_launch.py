"""The scripts in launch/: which Python they take, when they install, what they pass on. Nothing is really installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[3]
OLD = '#!/bin/sh\ncase "$2" in *platform*) echo Python 3.9.2;; *) exit 1;; esac\n'
"""A Python that says it is 3.9.2."""
LOGGING = """#!/bin/sh
if [ "$1 $2" = "-m venv" ]; then mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; cp "$0" "$3/bin/seedml"; exit; fi
case "$1" in
  -c|-) exec {python} "$@";;
esac
echo "$(basename "$0") $*" >> {log}
"""
"""A Python (or seedml, ruff …) that runs code, makes a .venv of copies of itself, and writes all else to a log."""


class Project:
    """A checkout with the scripts and little else, and commands that only write down that they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "check out"  # a path with a space in it
        self.bin = folder / "bin"
        self.log = folder / "log"
        shutil.copytree(CHECKOUT / "launch", self.folder / "launch")
        for name in ("seedml", "configs"):
            (self.folder / name).mkdir()
        for name in ("pyproject.toml", "README.md", "LICENSE", "seedml/a.py", "configs/a.yaml"):
            (self.folder / name).write_text(name)
        self.bin.mkdir()
        self.command("python3", LOGGING.format(python=sys.executable, log=self.log))

    def command(self, name: str, text: str) -> Path:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)
        return path

    def run(self, script: str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if name not in ("PYTHON", "SLOW")}
        environment = kept | {"PATH": f"{self.bin}:/usr/bin:/bin"} | environment
        return subprocess.run(
            ["bash", str(self.folder / "launch" / script), *words],
            capture_output=True, text=True, cwd="/", env=environment, check=False,
        )  # fmt: skip

    def logged(self) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return lines


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


PIP = "python -m pip install --quiet --disable-pip-version-check"


def test_quickstart_installs_once_and_passes_arguments_on(project: Project) -> None:
    first = project.run("quickstart.sh", "seeds=0:4", "name=a b")
    assert first.returncode == 0, first.stderr
    assert project.logged() == [f"{PIP} .", "seedml study quickstart seeds=0:4 name=a b"]
    assert "making .venv" in first.stdout
    second = project.run("quickstart.sh")
    assert project.logged() == ["seedml study quickstart"]
    assert second.stdout == ""


@pytest.mark.parametrize("changed", ["pyproject.toml", "seedml/a.py", "configs/b.yaml"])
def test_quickstart_installs_again_when_the_checkout_has_changed(project: Project, changed: str) -> None:
    project.run("quickstart.sh")
    project.logged()
    (project.folder / changed).write_text("new")
    project.run("quickstart.sh")
    assert project.logged() == [f"{PIP} .", "seedml study quickstart"]


def test_test_installs_once_and_runs_all_checks(project: Project) -> None:
    project.run("test.sh", "tests/unit")  # makes .venv
    for name in ("ruff", "mypy", "lint-imports"):
        shutil.copy(project.bin / "python3", project.folder / ".venv" / "bin" / name)
    assert project.logged() == [f"{PIP} --editable .[test]", "python -m pytest -m not slow tests/unit"]
    (project.folder / "seedml" / "a.py").write_text("new")  # an editable installation sees that itself
    assert project.run("test.sh").returncode == 0
    assert project.logged() == [
        "ruff check .", "ruff format --check --quiet .", "mypy ", "lint-imports ", "python -m pytest -m not slow",
    ]  # fmt: skip
    project.run("test.sh", "tests/unit", "-k", "noise and seed")
    assert project.logged() == ["python -m pytest -m not slow tests/unit -k noise and seed"]
    project.run("test.sh", "-x", SLOW="1")
    assert project.logged() == ["python -m pytest -x"]
    project.run("quickstart.sh")
    assert project.logged() == ["seedml study quickstart"]
    (project.folder / "pyproject.toml").write_text("new")
    project.run("test.sh", "-x")
    assert project.logged()[0] == f"{PIP} --editable .[test]"


def test_a_failing_check_fails_the_whole(project: Project) -> None:
    project.run("test.sh", "tests/unit")
    project.logged()
    for name in ("ruff", "lint-imports"):
        shutil.copy(project.bin / "python3", project.folder / ".venv" / "bin" / name)
    broken = project.folder / ".venv" / "bin" / "mypy"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    assert project.run("test.sh").returncode == 1
    assert [line.split()[0] for line in project.logged()] == ["ruff", "ruff"]


@pytest.mark.parametrize("script", ["quickstart.sh", "test.sh"])
def test_python_that_is_too_old(project: Project, script: str) -> None:
    for name in ("python3", "python3.14", "python3.13", "python3.12", "python3.11", "python"):
        project.command(name, OLD)
    result = project.run(script)
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert "Python is too old; given: python3 (Python 3.9.2); legal: 3.11 or newer; remedy: " in result.stderr
    assert not (project.folder / ".venv").exists()


def test_a_newer_python_beside_an_old_one(project: Project) -> None:
    new = project.bin / "python3"
    new.rename(project.bin / "python3.12")
    for name in ("python3", "python3.14", "python3.13"):
        project.command(name, OLD)
    assert project.run("quickstart.sh").returncode == 0
    assert project.logged()[-1] == "seedml study quickstart"


def test_the_python_asked_for(project: Project, tmp_path: Path) -> None:
    old = project.command("old-python", OLD)
    result = project.run("quickstart.sh", PYTHON=str(old))
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert f"PYTHON={old} (Python 3.9.2)" in result.stderr
    assert project.run("quickstart.sh", PYTHON=str(tmp_path / "none")).returncode == 2
    assert project.run("quickstart.sh", PYTHON=str(project.bin / "python3")).returncode == 0


def test_a_venv_that_does_not_work(project: Project) -> None:
    (project.folder / ".venv" / "bin").mkdir(parents=True)
    result = project.run("quickstart.sh")
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "delete the folder .venv" in result.stderr


def test_a_failed_installation_is_tried_again(project: Project) -> None:
    project.run("quickstart.sh")
    project.logged()
    (project.folder / "seedml" / "a.py").write_text("new")
    works = (project.folder / ".venv" / "bin" / "python").read_text()
    (project.folder / ".venv" / "bin" / "python").write_text(works.replace("case", '[ "$2" = pip ] && exit 1\ncase'))
    failed = project.run("quickstart.sh")
    assert failed.returncode == 2
    assert "pip install failed" in failed.stderr
    assert project.logged() == []
    (project.folder / ".venv" / "bin" / "python").write_text(works)
    project.run("quickstart.sh")
    assert project.logged() == [f"{PIP} .", "seedml study quickstart"]


def test_scripts_are_executable_and_well_formed() -> None:
    for path in (CHECKOUT / "launch" / "quickstart.sh", CHECKOUT / "launch" / "test.sh", CHECKOUT / ".ci" / "run"):
        assert os.access(path, os.X_OK)
        assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
        assert "set -euo pipefail" in path.read_text()
