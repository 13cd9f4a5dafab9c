"""The command line: ``seedml <step> <config> [key=value …]``, also ``python -m seedml``.

Exit status: 0 done; 2 a user's mistake, one line on stderr; 1 a fault of ours, with its traceback; 130 interrupted.
Knows the steps by name only; torch and the steps are imported when one of them runs.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from typing import TYPE_CHECKING

from seedml import __version__
from seedml.errors import UserError, unknown_name

if TYPE_CHECKING:
    from seedml.config import StudyConfig


@dataclass(frozen=True)
class _Step:
    """What the help says about a step."""

    does: str
    reads: str
    writes: str
    example: str


STEPS = {
    "study": _Step(
        "the whole job: generate, measure, summarize, classify, select, apply, report; what is done already stays",
        "the configuration",
        "shards/<name>/ and runs/<name>/, with runs/<name>/report.html at the end",
        "seedml study quickstart name=mine seeds=0:16",
    ),
    "generate": _Step(
        "make the images of all seeds × prompts",
        "the configuration",
        "shards/<name>/: tar files (WebDataset), a table and a marker beside each",
        "seedml generate quickstart sampler.batch_size=64",
    ),
    "measure": _Step(
        "measure every image: features and readable attributes",
        "shards/<name>/",
        "runs/<name>/images.parquet, features.safetensors, reference.safetensors",
        "seedml measure quickstart 'measure.attributes=[grayscale,border]'",
    ),
    "summarize": _Step(
        "per-seed FID and attribute statistics with intervals",
        "runs/<name>/images.parquet and features",
        "runs/<name>/seeds.parquet, summary.json",
        "seedml summarize quickstart statistics.permutations=1000",
    ),
    "classify": _Step(
        "train a classifier to tell which seed made an image, test it on held-out prompts; image=<file> asks it",
        "shards/<name>/",
        "runs/<name>/classifier/: checkpoint, metrics.json; with image=<file>, prints the five likeliest seeds",
        "seedml classify quickstart classifier.epochs=4",
    ),
    "select": _Step(
        "choose golden, inferior and diverse seeds, confirm them on held-out prompts",
        "runs/<name>/seeds.parquet and images.parquet",
        "runs/<name>/seedbook.json",
        "seedml select quickstart selection.golden=10",
    ),
    "apply": _Step(
        "try out the chosen seeds on prompts that had no part in choosing them: golden ones, diverse ones, noise swap;"
        " apply.run=[inpainting] fills masks",
        "runs/<name>/seedbook.json, shards/<name>/ and the model",
        "runs/<name>/applications/: a JSON file and a sheet of pictures for each use",
        "seedml apply quickstart 'apply.run=[noise_swap]' apply.swap_pairs=16",
    ),
    "report": _Step(
        "one self-contained HTML page of all results",
        "runs/<name>/ and shards/<name>/",
        "runs/<name>/report.html",
        "seedml report quickstart",
    ),
    "plan": _Step(
        "print images, shards, disk and time that a study would take (as dry_run=true does)",
        "the configuration",
        "nothing",
        "seedml plan quickstart name=larger seeds=0:1024",
    ),
    "verify": _Step(
        "compare every shard with its marker, table and plan, or every noise of a seed book with its hash;"
        " repair=true makes damaged and missing shards again",
        "shards/<name>/, or a seedbook.json",
        "nothing; with repair=true the damaged and missing shards, and no others",
        "seedml verify quickstart repair=true        or        seedml verify runs/quickstart/seedbook.json",
    ),
    "sample": _Step(
        "pictures of a prompt from golden, diverse, fitting or given seeds of a seed book; compare=random puts others"
        " beside them",
        "a seed book (its file or its run's folder) and a prompt",
        "samples/<prompt>/ beside the book, or out=…: pictures, contact_sheet.png, samples.json",
        """seedml sample runs/quickstart "a red mug on grass" n=8 by=golden compare=random

n=8          how many seeds
by=…         golden (default), best, inferior, diverse, style, layout, random
where=…      only seeds that fit: where="grayscale<0.1 and x<0.4"
seeds=…      these seeds: seeds=[3,7]
compare=…    as many others beside them: random, inferior, …
draw=1       other random seeds
out=…        another folder
model=…, model.…, sampler.…, noise.…, trainer.…    as in a study; whatever differs from the book's is warned of""",
    ),
    "export": _Step(
        "seeds of a book for other programs: a Python program for plain diffusers, a comma list for A1111 and ComfyUI,"
        " the noise as safetensors",
        "a seed book (its file or its run's folder)",
        "export/ beside the book, or out=…: diffusers_example.py, seeds.txt, noise.safetensors",
        """seedml export runs/quickstart n=8 by=golden prompt="a red mug on grass" to=diffusers,list,noise

n, by, where, seeds and draw choose seeds as in seedml sample""",
    ),
    "compare": _Step(
        "put finished studies beside the first one, seed by seed: order of seeds, chosen seeds, attributes, pictures",
        "runs/<name>/ of two or more studies, and their shards where they still are",
        "runs/compare-<names>/, or name=…: compare.html, compare.json, tables and a W&B run; with books=true also into"
        " the studies' seed books",
        "seedml compare runs/quickstart runs/guidance_3 name=guidance",
    ),
    "doctor": _Step(
        "look at what a study needs: weights and their hashes, libraries, device and memory, disk, prompts, reference,"
        " W&B; names the command that gets what is missing. Status 1 where the study cannot run yet",
        "the configuration; no network",
        "nothing; with --json one JSON object on stdout",
        "seedml doctor quickstart",
    ),
    "track": _Step(
        "send to Weights & Biases what it does not have of a run: after a kill, offline, or when its server was away;"
        " nothing is sent twice",
        "runs/<name>/tracking/",
        "W&B runs, and runs/<name>/tracking/<step>.sent.json, which says what W&B has",
        "seedml track runs/quickstart tracking.entity=my-team",
    ),
    "train": _Step(
        "train the bundled model from zero; an interrupted training goes on",
        "nothing: its data are drawn on the fly",
        "runs/seedling/ and the weights of the bundled model",
        "seedml train seedling",
    ),
}

_ON_BOOKS = ("sample", "export")
"""Commands that take a seed book in place of a configuration."""

_WITH_JSON = ("study", "generate", "measure", "summarize", "classify", "select", "apply", "report")
"""Steps that end with what they found as one JSON object on stdout where `--json` is given."""

_USAGE = """seedml {version}: what the random seed does in text-to-image diffusion, and how to use it

usage: seedml <step> <config> [key=value …]
       seedml sample <seed book> "<prompt>" [key=value …]
       seedml compare <run> <run> … [key=value …]
       seedml track <run> …
       seedml <step> --help
       seedml --version

steps
{steps}

<config> is a name in configs/ ({configs}) or the path of a YAML file.
key=value changes one setting: seeds=0:16  sampler.steps=4  model=sd2  model.path=/a/folder  name=my_study
--json ends a step that writes with one JSON object on stdout: files, chosen seeds, numbers. All else goes to stderr.
A step that is done is not done again; to go on after an interruption, run the same command again.

example: seedml study quickstart"""

_STEP_USAGE = """usage: seedml {name} {argument} [key=value …]

{does}

reads:   {step.reads}
writes:  {step.writes}
example: {step.example}"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    try:
        _run(list(sys.argv[1:] if argv is None else argv))
    except UserError as error:
        print(f"seedml: error: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        if error.errno not in _FORBIDDEN or error.filename is None:
            raise
        print(f"seedml: error: {_forbidden(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("seedml: interrupted; run the same command again to go on", file=sys.stderr)
        return 130
    return 0


_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def _forbidden(error: OSError) -> UserError:
    """A file that we may not read or write."""
    return UserError(
        f"{error.filename}: {(error.strerror or 'forbidden').lower()}",
        remedy="change its permissions, or name other folders (shards.root=… runs.root=…)",
    )


def _run(words: list[str]) -> None:
    if not words:
        raise UserError(
            "no step is given", legal=", ".join(STEPS), remedy="try seedml --help, or seedml study quickstart"
        )
    step, *rest = words
    own_words = {"train": _train, "compare": _compare, "track": _track, "doctor": _doctor}
    if step in ("-h", "--help", "help"):
        print(_usage())
    elif step in ("-V", "--version"):
        print(f"seedml {__version__}")
    elif step not in STEPS:
        raise unknown_name("step", step, STEPS)
    elif "-h" in rest or "--help" in rest:
        print(_step_usage(step))
    elif step in own_words:
        own_words[step](rest)
    elif step in _ON_BOOKS or (step == "verify" and rest and _is_book(rest[0])):
        _book_command(step, rest)
    else:
        _study_step(step, rest)


def _usage() -> str:
    from seedml.config import config_names

    steps = "\n".join(f"  {name:<10} {step.does}" for name, step in STEPS.items())
    return _USAGE.format(version=__version__, steps=steps, configs=", ".join(config_names()))


def _step_usage(name: str) -> str:
    step = STEPS[name]
    arguments = {
        "train": "seedling",
        "sample": '<seed book> "<prompt>"',
        "export": "<seed book>",
        "compare": "<run> <run> …",
        "track": "<run> …",
    }
    argument = arguments.get(name, "<config>")
    return _STEP_USAGE.format(name=name, argument=argument, does=step.does[0].upper() + step.does[1:] + ".", step=step)


def _study_step(step: str, words: Sequence[str]) -> None:
    """Run one step of a study; ``dry_run=true`` prints the plan instead."""
    words, machine = [word for word in words if word != "--json"], "--json" in words
    config = _config_of(step, words)
    runner = "plan" if config.dry_run else step
    _refuse_what_says_nothing(config, step, words[0])
    if machine and (runner not in _WITH_JSON or config.image is not None):
        raise UserError(f"--json says nothing to {'classify image=' if config.image else runner}",
                        legal=", ".join(_WITH_JSON), remedy="leave it out")  # fmt: skip
    _quieten_libraries()
    _keep_freed_memory()
    if config.trainer.threads is not None:
        import torch

        torch.set_num_threads(config.trainer.threads)
    from seedml.study import STEPS as RUNNERS

    if machine:
        _for_a_program(RUNNERS[runner], config)
    else:
        RUNNERS[runner](config)


def _config_of(step: str, words: Sequence[str]) -> StudyConfig:
    """The configuration that a step's words name."""
    from seedml.config import config_names, load_config

    if not words or "=" in words[0]:
        raise UserError(f"{step} is given no configuration", given=words[0] if words else None,
                        legal=f"{', '.join(config_names())}, or a path",
                        remedy=f"write seedml {step} quickstart")  # fmt: skip
    return load_config(words[0], words[1:])


def _refuse_what_says_nothing(config: StudyConfig, step: str, name: str) -> None:
    if config.image is not None and step != "classify":
        raise UserError(f"image= says nothing to {step}", given=config.image, legal="with classify only",
                        remedy=f"write seedml classify {name} image={config.image}")  # fmt: skip


def _for_a_program(run: Callable[[StudyConfig], None], config: StudyConfig) -> None:
    """Run a step, then print its study's folder as one JSON object, the only thing on stdout."""
    with _stdout_on_stderr():
        run(config)
    from seedml.report.terminal import as_json
    from seedml.tracking import is_rank_zero

    if is_rank_zero(os.environ):
        print(as_json(config))


@contextmanager
def _stdout_on_stderr() -> Iterator[None]:
    """Send stdout to stderr, that of child processes too."""
    sys.stdout.flush()
    stdout = os.dup(1)
    try:
        os.dup2(2, 1)
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def _train(words: Sequence[str]) -> None:
    """Train a bundled model."""
    if not words or "=" in words[0]:
        raise UserError("train is given no model", given=words[0] if words else None, legal="seedling",
                        remedy="write seedml train seedling")  # fmt: skip
    if words[0] != "seedling":
        raise unknown_name("model to train", words[0], ["seedling"])
    _quieten_libraries()
    _keep_freed_memory()
    from seedml.models.bundled.train import train

    train(words[1:])


def _doctor(words: Sequence[str]) -> None:
    """Say what a study needs and what of it is missing."""
    _quieten_libraries()
    config = _config_of("doctor", [word for word in words if word != "--json"])
    from seedml.doctor import doctor

    doctor(config, as_json="--json" in words)


def _is_book(word: str) -> bool:
    """Whether the word names a seed book, not a configuration."""
    from pathlib import Path

    path = Path(word)
    return path.suffix == ".json" or (path.name != word and (path / "seedbook.json").is_file())


def _book_command(name: str, words: Sequence[str]) -> None:
    """Run a command on a seed book."""
    _quieten_libraries()
    _keep_freed_memory()
    from seedml.sampling import commands

    {"sample": commands.sample, "export": commands.export, "verify": commands.verify}[name](words)


def _compare(words: Sequence[str]) -> None:
    """Compare finished studies."""
    _quieten_libraries()
    from seedml.compare import compare

    compare(words)


def _track(words: Sequence[str]) -> None:
    """Send journals to W&B."""
    from seedml.tracking.track import track

    track(words)


def _quieten_libraries() -> None:
    """Ask libraries for errors only, before they are imported; what the user has set stays."""
    for name, value in {
        "TRANSFORMERS_VERBOSITY": "error",
        "DIFFUSERS_VERBOSITY": "error",
        "TOKENIZERS_PARALLELISM": "false",  # else a warning at every fork of a data loader
    }.items():
        os.environ.setdefault(name, value)


def _keep_freed_memory() -> None:
    """Let glibc keep large blocks for the next operation; giving them back slows small networks several times."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:  # other C libraries have none
        for option in (-3, -1):  # M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
            mallopt(option, 1 << 30)


if __name__ == "__main__":
    sys.exit(main())
