"""The command line: what it calls, what it prints, and with which exit status it ends."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import seedml
from seedml.__main__ import STEPS, main
from seedml.config import StudyConfig
from seedml.errors import UserError

Calls = list[tuple[str, StudyConfig]]
OWN_WORDS = ("train", "sample", "export", "compare", "track", "doctor")
"""Commands that are no steps of a study; each has its own tests."""
ON_CONFIGURATIONS = [name for name in STEPS if name not in OWN_WORDS]
"""The steps that take a study's configuration."""


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What main() tells libraries through the environment ends with the test."""
    for name in ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY", "TOKENIZERS_PARALLELISM"):
        monkeypatch.setenv(name, "error" if name.endswith("Y") else "false")


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """The steps that were run, with their configurations, in place of the steps."""
    made: Calls = []

    def note(name: str) -> Callable[[StudyConfig], None]:
        return lambda config: made.append((name, config))

    study = types.ModuleType("seedml.study")
    study.STEPS = {name: note(name) for name in ON_CONFIGURATIONS}  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seedml.study", study)
    return made


def run(*words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(seedml.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-m", "seedml", *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env=environment,
        check=False,
    )


@pytest.mark.parametrize("step", ON_CONFIGURATIONS)
def test_every_step_gets_its_configuration(step: str, calls: Calls) -> None:
    assert main([step, "smoke", "seeds=0:3", "sampler.steps=7"]) == 0
    ((name, config),) = calls
    assert name == step
    assert config.seed_list == (0, 1, 2)
    assert config.sampler.steps == 7


def test_a_dry_run_only_plans(calls: Calls) -> None:
    assert main(["study", "smoke", "dry_run=true"]) == 0
    assert [name for name, _ in calls] == ["plan"]


def test_threads_are_set_only_when_asked_for(calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    asked: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", asked.append)
    main(["generate", "smoke"])
    assert asked == []
    main(["generate", "smoke", "trainer.threads=3"])
    assert asked == [3]


def test_training_gets_its_overrides(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Sequence[str]] = []
    module = types.ModuleType("seedml.models.bundled.train")
    module.train = given.append  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "seedml.models.bundled.train", module)
    assert main(["train", "seedling", "steps=3", "batch=2"]) == 0
    assert [list(words) for words in given] == [["steps=3", "batch=2"]]


@pytest.mark.parametrize(
    ("words", "called"),
    [
        (["sample", "runs/x", "a prompt", "n=2"], ("sample", ["runs/x", "a prompt", "n=2"])),
        (["export", "runs/x", "n=2"], ("export", ["runs/x", "n=2"])),
        (["verify", "runs/x/seedbook.json"], ("verify", ["runs/x/seedbook.json"])),
    ],
)
def test_commands_on_seed_books(
    words: list[str], called: tuple[str, list[str]], calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, list[str]]] = []
    for name in ("sample", "export", "verify"):
        command = (lambda word: lambda rest: given.append((word, list(rest))))(name)
        monkeypatch.setattr(f"seedml.sampling.commands.{name}", command)
    assert main(words) == 0
    assert given == [called]
    assert calls == []


def test_a_configuration_is_verified_though_a_folder_here_has_its_name(
    calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "smoke").mkdir()
    (tmp_path / "smoke" / "seedbook.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert main(["verify", "smoke"]) == 0
    assert [name for name, _ in calls] == ["verify"]


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["no step", "seedml --help"]),
        (["studdy", "smoke"], ["unknown step", "'studdy'", "did you mean 'study'"]),
        (["deploy", "smoke"], ["unknown step", "'deploy'", "generate"]),
        (["--halp"], ["unknown step"]),
        (["study"], ["no configuration", "quickstart", "smoke"]),
        (["study", "seeds=0:3"], ["no configuration", "'seeds=0:3'"]),
        (["study", "smok"], ["unknown configuration", "'smok'", "did you mean 'smoke'"]),
        (["study", "smoke", "seeds=0:3,1"], ["seed 1 twice"]),
        (["study", "smoke", "sampler.stepz=1"], ["sampler.stepz", "sampler.steps"]),
        (["study", "smoke", "--sampler.steps=1"], ["--sampler.steps=1", "write sampler.steps=1"]),
        (["study", "smoke", "quickstart"], ["'quickstart'", "key=value"]),
        (["train"], ["no model", "seedling"]),
        (["train", "steps=3"], ["no model", "seedling"]),
        (["train", "seedlin"], ["'seedlin'", "did you mean 'seedling'"]),
    ],
)
def test_mistakes(words: list[str], parts: list[str], calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert calls == []
    assert err.count("\n") == 1
    assert err.startswith("seedml: error: ")
    assert "remedy: " in err
    for part in parts:
        assert part in err


def _fail(error: BaseException) -> Callable[[StudyConfig], None]:
    def step(config: StudyConfig) -> None:
        raise error

    return step


def test_a_users_mistake_inside_a_step(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    sys.modules["seedml.study"].STEPS["measure"] = _fail(UserError("no shards", remedy="run generate"))
    assert main(["measure", "smoke"]) == 2
    assert capsys.readouterr().err == "seedml: error: no shards; remedy: run generate\n"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_may_not_be_written(calls: Calls, capsys: pytest.CaptureFixture[str], number: int) -> None:
    sys.modules["seedml.study"].STEPS["measure"] = _fail(OSError(number, os.strerror(number), "/runs/smoke"))
    assert main(["measure", "smoke"]) == 2
    error = capsys.readouterr().err
    assert error.startswith(
        f"seedml: error: /runs/smoke: {os.strerror(number).lower()}; remedy: change its permissions"
    )
    assert error.count("\n") == 1


def test_a_fault_of_the_disk_is_not_the_users(calls: Calls) -> None:
    sys.modules["seedml.study"].STEPS["measure"] = _fail(OSError(errno.EIO, "Input/output error", "/runs/smoke"))
    with pytest.raises(OSError, match="Input/output"):
        main(["measure", "smoke"])


def test_an_interruption(calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    sys.modules["seedml.study"].STEPS["measure"] = _fail(KeyboardInterrupt())
    assert main(["measure", "smoke"]) == 130
    assert capsys.readouterr().err == "seedml: interrupted; run the same command again to go on\n"


def test_a_fault_of_ours_is_not_hidden(calls: Calls) -> None:
    sys.modules["seedml.study"].STEPS["measure"] = _fail(ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        main(["measure", "smoke"])


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_lists_every_step(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([word]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {name} " in out for name in STEPS)
    assert "quickstart, smoke" in out


@pytest.mark.parametrize("step", STEPS)
def test_help_of_a_step(step: str, calls: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([step, "smoke", "--help"]) == main([step, "-h"]) == 0
    out = capsys.readouterr().out
    assert f"usage: seedml {step}" in out
    assert all(word in out for word in ("reads:", "writes:", f"example: seedml {step}"))
    assert calls == []


def test_help_imports_no_heavy_library() -> None:
    code = (
        "import sys; from seedml.__main__ import main; main(['--help']); main(['study', '--help']);"
        "main(['study', 'smoke', 'seeds=-1']); heavy = {'torch', 'pytorch_lightning', 'pandas', 'wandb', 'diffusers'};"
        "sys.exit(repr(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_as_a_process(tmp_path: Path) -> None:
    version = run("--version", folder=tmp_path)
    assert (version.returncode, version.stdout) == (0, f"seedml {seedml.__version__}\n")
    mistake = run("study", "quickstart", "seeds=64:0", folder=tmp_path)
    assert (mistake.returncode, mistake.stdout, mistake.stderr.count("\n")) == (2, "", 1)
    assert "empty range '64:0'" in mistake.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_fault_of_ours_ends_with_1_and_a_traceback(tmp_path: Path) -> None:
    code = (
        "import sys, types; study = types.ModuleType('seedml.study'); study.STEPS = {'plan': lambda config: 1 / 0};"
        "sys.modules['seedml.study'] = study; from seedml.__main__ import main; sys.exit(main(['plan', 'smoke']))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr
