"""`launch/slurm.sbatch` in a real Slurm: interrupted in every way Slurm has, it ends with the bytes of one process."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import yaml
from slurm_cluster import Cluster, Job, slurm_cluster
from tiny_models import tiny_stable_diffusion, tiny_study

from seedml.config import PromptsConfig, ShardsConfig, resolved

Files = dict[str, bytes]
Submit = Callable[..., Job]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CHECKOUT = Path(__file__).parents[2]
SLOW = '''"""seedml, with a pause in every batch, so that there is time to interrupt it."""
import os
import sys
import time

from seedml.__main__ import main
from seedml.models.text_to_image import TextToImage

sample = TextToImage.sample


def paused(self, *arguments):
    time.sleep(float(os.environ["PAUSE"]))
    return sample(self, *arguments)


TextToImage.sample = paused
sys.exit(main())
'''


class Study:
    """A study of 15 tiles of 2 batches. Its file is ``study.yaml`` in ``folder``, from where it is run."""

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder = folder
        prompts = PromptsConfig(limit=15, splits={"train": 9, "val": 3, "test": 3})
        shards = ShardsConfig(tile_seeds=5, tile_prompts=1)
        self.config = tiny_study(Path(), model, name="study", prompts=prompts, shards=shards)
        (folder / "study.yaml").write_text(yaml.safe_dump(resolved(self.config)))

    @property
    def shards(self) -> Path:
        return self.folder / self.config.shard_dir

    def contents(self) -> Files:
        """Every file, hidden ones too."""
        return {str(p.relative_to(self.shards)): p.read_bytes() for p in self.shards.rglob("*") if p.is_file()}

    def markers(self) -> int:
        """Finished tiles."""
        return len(list(self.shards.glob("*-*.json")))


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with slurm_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with the scripts, whose .venv leads to the Python and the seedml under test, with pauses."""
    folder = tmp_path_factory.mktemp("check out")
    shutil.copytree(CHECKOUT / "launch", folder / "launch")
    project = shutil.copyfile(CHECKOUT / "pyproject.toml", folder / "pyproject.toml").read_bytes()
    (folder / "slow_seedml.py").write_text(SLOW)
    commands = folder / ".venv" / "bin"
    commands.mkdir(parents=True)
    for name, words in {"python": "", "seedml": f"'{folder}/slow_seedml.py'"}.items():
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {words} "$@"\n')
        (commands / name).chmod(0o755)
    installed = sha256(f"pyproject.toml {len(project)}\n".encode() + project).hexdigest()
    (folder / ".venv" / "seedml-editable").write_text(installed)  # so that nothing is installed
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture(scope="module")
def uninterrupted(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """What one process makes in one go, without Slurm."""
    study = Study(tmp_path_factory.mktemp("whole"), model)
    subprocess.run([sys.executable, "-m", "seedml", "generate", "study.yaml"], cwd=study.folder, check=True)
    assert study.markers() == 15
    return study.contents()


@pytest.fixture
def study(model: Path, tmp_path: Path) -> Study:
    return Study(tmp_path, model)


@pytest.fixture
def submit(cluster: Cluster, checkout: Path, study: Study, monkeypatch: pytest.MonkeyPatch) -> Submit:
    """Submits the script from the study's folder."""
    monkeypatch.setitem(cluster.environment, "PAUSE", "0.5")

    def submitted(*options: str, words: tuple[str, ...] = ("study.yaml",)) -> Job:
        script = str(checkout / "launch" / "slurm.sbatch")
        return cluster.submit(*options, script, *words, output=study.folder / "log", cwd=study.folder)

    return submitted


def requeue(job: Job) -> None:
    """What an administrator does, and Slurm itself to a job that it preempts."""
    job.requeue()


def signal_before_the_time_limit(job: Job) -> None:
    """What `#SBATCH --signal` has Slurm do. The job asks for its requeueing itself."""
    job.signal("USR1")


def lose_a_node(job: Job) -> None:
    """Slurm requeues a job whose node fails."""
    job.cluster.call("scontrol", "update", "NodeName=node2", "State=DOWN", "Reason=test")
    job.cluster.bring_back("node2")


def cancel_and_requeue(job: Job) -> None:
    """SIGTERM, and a second thought."""
    job.cancel()
    job.wait_for_state("CANCELLED")
    assert job.facts()["ExitCode"] == "143:0"
    job.requeue()


def test_interrupted_in_every_way_it_ends_with_the_same_bytes(
    submit: Submit, study: Study, uninterrupted: Files
) -> None:
    """Two processes on two nodes, interrupted four times half-way."""
    job = submit("--nodes=2")
    done = 0
    for interrupt in (requeue, signal_before_the_time_limit, lose_a_node, cancel_and_requeue):
        job.wait_until(lambda before=done: study.markers() > before)
        interrupt(job)
        job.wait_for_state("PENDING")
        done = study.markers()
        assert done < 15, f"{interrupt.__name__} came too late"
        left = {name: data for name, data in study.contents().items() if not name.startswith(".")}
        assert left.items() < uninterrupted.items(), f"{interrupt.__name__} spoiled a file\n{job.text()}"
    job.wait_for_state("COMPLETED")
    assert job.facts()["Restarts"] == "4"
    assert study.contents() == uninterrupted, "with no file of an interrupted process left"


def test_a_process_that_is_killed_takes_no_other_with_it(submit: Submit, study: Study, uninterrupted: Files) -> None:
    job = submit("--ntasks-per-node=2")
    job.wait_until(lambda: study.markers() > 0)
    victim = sorted(study.shards.glob(".claims/*.alive"))[0]
    os.kill(int(victim.name.split(".")[-3]), signal.SIGKILL)
    job.wait_for_state("FAILED")
    assert job.facts()["ExitCode"] == "137:0"
    assert study.contents() == uninterrupted, "the other process has made its tile too"


def test_the_elements_of_an_array_share_the_work(
    cluster: Cluster, submit: Submit, study: Study, uninterrupted: Files
) -> None:
    """One of them is requeued half-way, and one is cancelled for good."""
    array = submit("--array=0-2")
    jobs = [Job(cluster, f"{array.number}_{index}", array.output) for index in range(3)]
    jobs[0].wait_until(lambda: len(list(study.shards.glob(".claims/*.alive"))) == 3)
    jobs[1].requeue()
    jobs[2].cancel()
    assert study.markers() < 15, "they came too late"
    for job, state in zip(jobs, ("COMPLETED", "COMPLETED", "CANCELLED"), strict=True):
        job.wait_for_state(state)
    assert jobs[1].facts()["Restarts"] == "1"
    assert study.contents() == uninterrupted


@pytest.mark.parametrize(
    ("options", "words", "line"),
    [
        (["--array=0-0"], ["study", "study.yaml"], "the elements of an array can share generate only; given: study;"),
        ([], ["study.yaml", "trainer.devices=3"], "given: SLURM_NTASKS_PER_NODE=1 and trainer.devices=3;"),
        ([], ["none.yaml"], "there is no configuration none.yaml;"),
    ],
)
def test_a_wrong_use_is_refused_in_one_line(
    submit: Submit, study: Study, options: list[str], words: list[str], line: str
) -> None:
    job = submit(*options, words=tuple(words))
    job.wait_for_state("FAILED")
    assert job.facts()["ExitCode"] == "2:0"
    assert job.text().count("\n") == 1
    assert line in job.text()
    assert not study.shards.exists()
