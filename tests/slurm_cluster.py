"""A real Slurm on this machine: two nodes that are both this machine, in a temporary folder, on free ports.

What slurm.conf leaves out is Slurm's default. The daemons end with the process that started them, however it ends.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

NODES = ("node1", "node2")
PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "sinfo", "squeue", "setpriv")
CONF = """
ClusterName=seedml
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=6
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
MailProg=/bin/true
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobRequeue=1
ReturnToService=2
KillWait=20
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4
NodeName=node2 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[2]} CPUs=4
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
"""``config_overrides``: more CPUs than there are. ``cred_expire``: a requeued job waits so many seconds, not 120."""


class Job:
    """A submitted job, or one element of an array."""

    def __init__(self, cluster: Cluster, number: str, output: Path) -> None:
        self.cluster, self.number, self.output = cluster, number, output

    def facts(self) -> dict[str, str]:
        """What ``scontrol show job`` says: JobState, Restarts, ExitCode …"""
        record = self.cluster.call("scontrol", "--oneliner", "show", "job", self.number)
        return dict(re.findall(r"(\w+)=(\S*)", record))

    def requeue(self) -> None:
        """Back into the queue, from whatever state."""
        self.cluster.call("scontrol", "requeue", self.number)

    def cancel(self) -> None:
        """SIGTERM, and SIGKILL to what is left after ``KillWait``."""
        self.cluster.call("scancel", self.number)

    def signal(self, name: str) -> None:
        """To the job's processes as ``sbatch --signal`` without ``B:`` does, not to its shell."""
        self.cluster.call("scancel", f"--signal={name}", self.number)

    def text(self) -> str:
        """What the job has printed."""
        return self.output.read_text() if self.output.exists() else ""

    def wait_until(self, condition: Callable[[], bool], seconds: float = 240.0) -> None:
        """Wait; fails, with all that the job has printed, when the job ends without the condition."""
        deadline = time.monotonic() + seconds
        while not _met(condition, patience=0.5):
            state = self.facts()["JobState"]
            ended = state in ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL") and not condition()
            assert not ended, f"job {self.number} is {state}\n{self.text()}"
            assert time.monotonic() < deadline, f"job {self.number} is {state}\n{self.text()}"

    def wait_for_state(self, state: str) -> None:
        """Wait until the job is in that state."""
        self.wait_until(lambda: self.facts()["JobState"] == state)


class Cluster:
    """Runs Slurm's commands on the cluster in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("SLURM", "SBATCH"))},
            "SLURM_CONF": str(folder / "slurm.conf"),
            "MASTER_ADDR": "127.0.0.1",  # the nodes' names are known to Slurm only
        }

    def bring_back(self, node: str) -> None:
        """Have a node that is down in service again. One that reported meanwhile is; Slurm refuses to resume it."""
        deadline = time.monotonic() + 60
        while self.call("sinfo", "--noheader", f"--nodes={node}", "--format=%T").startswith("down"):
            resume = ("scontrol", "update", f"NodeName={node}", "State=RESUME")
            done = subprocess.run(resume, env=self.environment, capture_output=True, text=True, check=False)
            assert time.monotonic() < deadline, f"{node} stays down: {done.stderr}"
            time.sleep(0.2)

    def call(self, *words: str, cwd: Path | None = None) -> str:
        """Standard output of a command that must succeed."""
        done = subprocess.run(words, env=self.environment, cwd=cwd, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def submit(self, *words: str, output: Path, cwd: Path) -> Job:
        """``sbatch <words>``."""
        number = self.call("sbatch", "--parsable", f"--output={output}", *words, cwd=cwd).strip().split(";")[0]
        return Job(self, number, output)


@contextmanager
def slurm_cluster() -> Iterator[Cluster]:
    """Start the cluster, yield it, stop it. Skips the test, with the reason, where there can be none."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("a Slurm of our own needs Linux and root")
    os.environ["PATH"] += os.pathsep + "/usr/sbin"  # Debian keeps daemons there
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        pytest.skip(f"no {', '.join(missing)}; Debian and Ubuntu: apt-get install slurm-wlm munge")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))  # a socket's path must be short
    try:
        with ExitStack() as daemons:
            cluster = _started(folder, daemons)
            yield cluster
            _cancel_everything(cluster)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _started(folder: Path, daemons: ExitStack) -> Cluster:
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(128))
    key.chmod(0o400)
    host = socket.gethostname().partition(".")[0]
    (folder / "slurm.conf").write_text(CONF.format(host=host, folder=folder, ports=_free_ports(3)))
    (folder / "state").mkdir()
    cluster = Cluster(folder)
    _start(daemons, cluster, "munged", "--foreground", "--force", *_munge_options(folder))
    _wait(cluster, lambda: (folder / "munge.socket").exists())
    _start(daemons, cluster, "slurmctld", "-D")
    for node in NODES:
        (folder / node).mkdir()
        _start(daemons, cluster, "slurmd", "-D", "-N", node)
    _wait(cluster, lambda: _states(cluster) == ["idle"])
    return cluster


def _munge_options(folder: Path) -> list[str]:
    files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munged.pid", "log-file": "munged.log",
             "seed-file": "munged.seed"}  # fmt: skip
    return [f"--{option}={folder / name}" for option, name in files.items()]


def _start(daemons: ExitStack, cluster: Cluster, *words: str) -> None:
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    mortal = ["setpriv", "--pdeathsig", "TERM", *words]
    process = subprocess.Popen(mortal, env=cluster.environment, cwd=cluster.folder, **quiet)
    daemons.callback(_stop, process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _states(cluster: Cluster) -> list[str]:
    """Of the nodes, each once; empty while nobody answers."""
    asked = subprocess.run(
        ["sinfo", "--noheader", "--format=%T"], env=cluster.environment, capture_output=True, text=True, check=False
    )
    return sorted(set(asked.stdout.split()))


def _wait(cluster: Cluster, condition: Callable[[], bool], seconds: float = 60.0) -> None:
    if not _met(condition, seconds):
        logs = [f"{path.name}: {path.read_text()[-800:]}" for path in sorted(cluster.folder.glob("*.log"))]
        pytest.skip("Slurm does not start here; " + " | ".join(logs).replace("\n", " "))


def _met(condition: Callable[[], bool], patience: float) -> bool:
    """Whether the condition comes true within so many seconds."""
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _cancel_everything(cluster: Cluster) -> None:
    """Leave no process of a job behind; its daemons do not wait for it."""
    cluster.call("scancel", "--user=root", "--full", "--signal=KILL")
    cluster.call("scancel", "--user=root")
    _wait(cluster, lambda: not cluster.call("squeue", "--noheader").strip())
