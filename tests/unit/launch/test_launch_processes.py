"""The scripts that start several processes: what they pass on, from which folder, and what they refuse in one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from test_launch import CHECKOUT, PIP, Project

SCRIPTS = ("multi_gpu.sh", "torchrun.sh", "slurm.sbatch")
SCONTROL = """#!/bin/sh
echo "scontrol $*" >> {log}
[ "$1" != show ] && exit
printf 'JobId=7 JobName=seedml\n   JobState=%s Reason=None\n' "$STATE"
printf '   StartTime=2026-11-22T19:14:32 EndTime=%s Deadline=N/A\n   Command=%s\n   WorkDir=/\n' "$ENDS" "$COMMAND"
"""
"""Slurm's record of a job, as version 22.05 prints it."""
SRUN = """#!/bin/sh
echo "srun from $PWD with $OMP_NUM_THREADS threads" >> {log}
while [ "${{1#--}}" != "$1" ]; do shift; done
"$@"
exit ${{STATUS:-0}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.command("scontrol", SCONTROL.format(log=made.log))
    made.command("srun", SRUN.format(log=made.log))
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    (elsewhere / "my study.yaml").write_text("name: mine\n")
    return made


def run(project: Project, script: Path | str, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """From a folder that is not the checkout."""
    kept = {k: v for k, v in os.environ.items() if k != "PYTHON" and not k.startswith(("SLURM_", "PET_", "OMP_"))}
    return subprocess.run(
        ["bash", str(project.folder / "launch" / script), *words], capture_output=True, text=True, check=False,
        cwd=project.folder.parent / "else where",
        env=kept | {"PATH": f"{project.bin}:/usr/bin:/bin"} | environment,
    )  # fmt: skip


def job(project: Project, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As Slurm runs the script: a copy of it, in a folder of Slurm's, from the folder where it was submitted."""
    copy = project.folder.parent / "slurm_script"
    shutil.copy(project.folder / "launch" / "slurm.sbatch", copy)
    facts = {
        "SLURM_JOB_ID": "7", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NUM_NODES": "1",
        "COMMAND": " ".join([str(project.folder / "launch" / "slurm.sbatch"), *words]), "STATE": "RUNNING",
        "ENDS": "Unknown",
    }  # fmt: skip
    return run(project, copy, *words, **(facts | environment))


def refused(result: subprocess.CompletedProcess[str], *parts: str) -> None:
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("seedml: error: ")
    for part in parts:
        assert part in result.stderr


def installed(project: Project) -> None:
    """Have .venv made, and forget about it."""
    assert run(project, "multi_gpu.sh", "generate", "smoke").returncode == 0
    assert project.logged()[0] == f"{PIP} ."


def test_it_installs_once_and_stays_in_the_folder_of_the_caller(project: Project) -> None:
    first = run(project, "multi_gpu.sh", "study", "my study.yaml", "seeds=0:4", "name=a.b")
    assert first.returncode == 0, first.stderr
    expected = "seedml study my study.yaml trainer.devices=auto trainer.strategy=ddp seeds=0:4 name=a.b"
    assert project.logged() == [f"{PIP} .", expected]
    second = run(project, "multi_gpu.sh", "my study.yaml", "trainer.devices=2")
    assert second.stdout == ""
    assert project.logged() == [
        "seedml generate my study.yaml trainer.devices=auto trainer.strategy=ddp trainer.devices=2"
    ]


def test_many_that_start_at_once_install_once(project: Project) -> None:
    script = str(project.folder / "launch" / "multi_gpu.sh")
    environment = os.environ | {"PATH": f"{project.bin}:/usr/bin:/bin"}
    started = [
        subprocess.Popen(["bash", script, "generate", "smoke"], env=environment, stdout=subprocess.DEVNULL)
        for _ in range(3)
    ]
    assert [process.wait() for process in started] == [0, 0, 0]
    lines = project.logged()
    assert lines.count(f"{PIP} .") == 1
    assert len([line for line in lines if line.startswith("seedml generate smoke ")]) == 3


def test_torchrun_gets_its_options_and_the_study_the_rest(project: Project) -> None:
    installed(project)
    python = project.folder / ".venv" / "bin" / "python"
    python.write_text(
        python.read_text().replace("-c|-)", f'-m) shift 2; printf "%s|" "$@" >> {project.log}; exit;;\n-c|-)')
    )

    def given(*words: str, **environment: str) -> tuple[list[str], list[str]]:
        result = run(project, "torchrun.sh", *words, **environment)
        assert result.returncode == 0, result.stderr
        logged = "".join(line.strip() for line in project.logged()).removesuffix("|").split("|")
        middle = logged.index("--no-python")
        return logged[:middle], logged[logged.index(str(project.folder / ".venv" / "bin" / "seedml")) + 1 :]

    one = ["--nproc-per-node=3", "--nnodes=1", "--standalone"]
    study = ["study", "my study.yaml", "trainer.strategy=ddp", "name=b"]
    assert given("--nproc_per_node=3", "study", "my study.yaml", "name=b") == (one, study)
    assert given("study", "my study.yaml", "name=b", PET_NPROC_PER_NODE="3") == (one[1:], study)
    options, words = given("smoke", "trainer.devices=3", "trainer.num_nodes=2")
    assert options == ["--nproc-per-node=3", "--nnodes=2"]
    assert words == ["generate", "smoke", "trainer.strategy=ddp", "trainer.devices=3", "trainer.num_nodes=2"]
    two = ["--nnodes=1:2", "--nproc-per-node=3", "--rdzv-endpoint=my_node:29400"]
    assert given(*two, "smoke")[0] == two


@pytest.mark.slow
def test_torchrun_tells_each_process_how_many_there_are(project: Project) -> None:
    """The real torchrun, and a seedml that only writes down what it is told."""
    installed(project)
    python = project.folder / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    result = run(project, "torchrun.sh", "--nproc-per-node=2", "my study.yaml", "model.path=a b")
    assert result.returncode == 0, result.stderr
    told = "seedml generate my study.yaml trainer.strategy=ddp model.path=a b trainer.devices=2 trainer.num_nodes=1"
    assert project.logged() == [told, told]


def test_slurm_passes_on_what_it_was_submitted_with(project: Project) -> None:
    installed(project)
    where = project.folder.parent / "else where"
    result = job(project, "study", "my study.yaml", "name=b", SLURM_CPUS_PER_TASK="3")
    assert result.returncode == 0, result.stderr
    assert project.logged() == [
        "scontrol show job 7",
        f"srun from {where} with 3 threads",
        "seedml study my study.yaml trainer.strategy=ddp name=b trainer.devices=2 trainer.num_nodes=1",
    ]
    element = {"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "3"}
    assert job(project, "smoke", SLURM_NTASKS="1", SLURM_NTASKS_PER_NODE="1", **element).returncode == 0
    assert project.logged()[1:] == [
        f"srun from {where} with 1 threads",
        "seedml generate smoke trainer.strategy=auto trainer.devices=1 trainer.num_nodes=1",
    ]


def test_slurm_requeues_what_the_signal_met_too_early(project: Project) -> None:
    """128 + 10: SIGUSR1 came before seedml could listen. Any other failure stays one, and no job is requeued twice."""
    installed(project)
    element = {"SLURM_ARRAY_JOB_ID": "5", "SLURM_ARRAY_TASK_ID": "3"}
    for status, state, more, asked in [
        ("138", "RUNNING", {}, ["scontrol show job 7", "scontrol requeue 7"]),
        ("138", "RUNNING", element, ["scontrol show job 5_3", "scontrol requeue 5_3"]),
        ("138", "COMPLETING", {}, ["scontrol show job 7"]),
        ("1", "RUNNING", {}, []),
    ]:
        result = job(project, "smoke", STATUS=status, STATE=state, **more)
        assert result.returncode == int(status), result.stderr
        assert project.logged()[3:] == asked


def test_slurm_refuses_a_time_limit_in_which_nothing_is_finished(project: Project) -> None:
    """It would be signalled at once, and requeued for ever."""
    installed(project)

    def in_seconds(seconds: int) -> str:
        return (datetime.now() + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")

    refused(job(project, "smoke", ENDS=in_seconds(230)), "the time limit leaves no time to work", "--time=")
    assert job(project, "smoke", ENDS=in_seconds(300)).returncode == 0


def test_slurm_outside_of_slurm(project: Project) -> None:
    refused(run(project, "slurm.sbatch", "generate", "smoke"), "is a job for Slurm", "bash launch/multi_gpu.sh")
    lost = job(project, "smoke", COMMAND="(null)")
    refused(lost, "cannot find the checkout", "sbatch /path/to/launch/slurm.sbatch")


def test_wrong_uses_are_refused_in_one_line(project: Project) -> None:
    installed(project)
    for script in ("multi_gpu.sh", "torchrun.sh"):
        refused(run(project, script), "generate is given no configuration")
        refused(run(project, script, "study", "seeds=0:4"), "study is given no configuration")
        refused(run(project, script, "generate", "smok"), "unknown configuration", "did you mean 'smoke'?")
        refused(run(project, script, "generate", "none.yaml"), "there is no configuration none.yaml")
        refused(run(project, script, "generate", "smoke", "seedz=0:4"), "did you mean 'seeds'?")
        assert project.logged() == []
    two = "runs on one machine; given: trainer.num_nodes=2; legal: 1"
    refused(run(project, "multi_gpu.sh", "smoke", "trainer.num_nodes=2"), two)
    refused(run(project, "torchrun.sh", "--nnodes", "2", "smoke"), "written --name=value", "given: --nnodes")
    refused(run(project, "torchrun.sh", "-m", "smoke"), "given: -m")
    twice = run(project, "torchrun.sh", "--nproc-per-node=2", "smoke", "trainer.devices=3")
    refused(twice, "--nproc-per-node=2 and trainer.devices=3")
    refused(job(project, "smoke", "trainer.devices=3"), "SLURM_NTASKS_PER_NODE=2 and trainer.devices=3")
    refused(job(project, "study", "smoke", SLURM_ARRAY_TASK_ID="0", SLURM_ARRAY_JOB_ID="5"), "legal: generate;")
    refused(job(project), "generate is given no configuration")


@pytest.mark.parametrize("script", SCRIPTS)
def test_each_is_executable_well_formed_and_headed_by_examples(script: str) -> None:
    path = CHECKOUT / "launch" / script
    assert os.access(path, os.X_OK)
    assert subprocess.run(["bash", "-n", str(path)], check=False).returncode == 0
    text = path.read_text()
    assert "set -euo pipefail" in text
    header = text.partition("set -euo")[0]
    assert header.count(f"launch/{script} ") >= 3, "three examples"
    if script.endswith(".sh"):
        shown = subprocess.run(["bash", str(path), "--help"], capture_output=True, text=True, check=False)
        assert shown.stdout.splitlines() == [line.removeprefix("# ").lstrip("#") for line in header.splitlines()[1:]]
