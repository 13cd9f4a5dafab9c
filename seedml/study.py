"""The whole job, in the order of the study; each step reads what the ones before wrote, and skips what is done.

generate    seeds × prompts -> images, in shards
measure     images -> features and attributes, one row an image
summarize   rows of one seed -> FID and attribute statistics with intervals
classify    which seed made this image?
select      golden, inferior and diverse seeds, confirmed on held-out prompts
apply       what the chosen seeds are good for, tried out on further held-out prompts
report      one page with all of it
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from seedml.config import StudyConfig, resolved
from seedml.files import atomic_write_text
from seedml.tracking import Patience, is_rank_zero, open_tracker, without_secrets

if TYPE_CHECKING:
    from seedml.tracking import Tracker

Step = Callable[[StudyConfig], None]


def study(config: StudyConfig) -> None:
    """All steps in order, then the headline numbers and the path of the report."""
    _fail_early(config)
    _announce(config)
    patience = Patience()
    generate(config, patience)
    measure(config, patience)
    summarize(config, patience)
    classify(config, patience)
    select(config, patience)
    apply(config, patience)
    report(config, patience)
    _tell(config)


def generate(config: StudyConfig, patience: Patience | None = None) -> None:
    """Make the images that are not there yet."""
    from seedml.generation.step import generate as step

    _tracked("generate", step, config, patience)


def measure(config: StudyConfig, patience: Patience | None = None) -> None:
    """Measure every image: features and attributes."""
    from seedml.measurement.step import measure as step

    _tracked("measure", step, config, patience)


def summarize(config: StudyConfig, patience: Patience | None = None) -> None:
    """Per-seed FID and attribute statistics."""
    from seedml.summarize import summarize as step

    _tracked("summarize", step, config, patience)


def classify(config: StudyConfig, patience: Patience | None = None) -> None:
    """Train and test the seed classifier and its controls; with ``image``, say which seed made that picture."""
    if config.image is not None:
        from seedml.classifier.naming import name_seed

        print(name_seed(config).text())
        return
    from seedml.classifier.step import classify as step

    _tracked("classify", step, config, patience)


def select(config: StudyConfig, patience: Patience | None = None) -> None:
    """Choose seeds and confirm the choice on held-out prompts."""
    from seedml.selection.step import select as step

    _tracked("select", step, config, patience)


def apply(config: StudyConfig, patience: Patience | None = None) -> None:
    """Try out what the chosen seeds are good for."""
    from seedml.applications.step import apply as step

    _tracked("apply", step, config, patience)


def report(config: StudyConfig, patience: Patience | None = None) -> None:
    """Write the page."""
    from seedml.report.page import write_report

    _tracked("report", write_report, config, patience)


def plan(config: StudyConfig) -> None:
    """Print what the study will make and what it takes here, measured on a few of its images; touches nothing."""
    from seedml.applications.planned import later_lines
    from seedml.generation.estimate import measured_plan
    from seedml.prompts import MissingFileError, load_prompts

    measured = measured_plan(config)
    print(measured.text())
    with suppress(MissingFileError):  # which the plan has told of
        for line in later_lines(config, load_prompts(config.prompts), measured.warmup):
            print(line)


def verify(config: StudyConfig) -> None:
    """Look at every shard; with ``repair``, make damaged and missing ones again."""
    from seedml.generation.verification import verify as step

    step(config)


STEPS: Mapping[str, Step] = {
    step.__name__: step for step in (study, generate, measure, summarize, classify, select, apply, report, plan, verify)
}


def _fail_early(config: StudyConfig) -> None:
    """Refuse before the first image what a later step would refuse after the last one."""
    from seedml.applications import check_applications
    from seedml.classifier.networks import check_network
    from seedml.measurement.networks import feature_network, measured_attributes, vector_networks
    from seedml.measurement.reference import check_reference
    from seedml.prompts import load_prompts

    check_network(config.classifier.architecture, config.classifier.image_size)
    measured_attributes(config)
    vector_networks(config)
    prompts = load_prompts(config.prompts)
    check_reference(config.reference, prompts, feature_network(config))
    check_applications(config, prompts)


def _announce(config: StudyConfig) -> None:
    """Say what later steps will make beyond the grid, which ``generate`` tells of itself."""
    from seedml.applications.planned import later_sentence
    from seedml.prompts import load_prompts

    sentence = later_sentence(config, load_prompts(config.prompts))
    if sentence and is_rank_zero(os.environ):
        print(sentence, flush=True)


def _tracked(
    name: str, step: Callable[[StudyConfig, Tracker], object], config: StudyConfig, patience: Patience | None
) -> None:
    """Run one step under its own tracked run, and keep the configuration with its results."""
    from omegaconf import OmegaConf

    with open_tracker(config, name, config.run_dir, patience=patience) as tracker:
        step(config, tracker)
    settings = OmegaConf.create(without_secrets(resolved(config), os.environ))
    atomic_write_text(config.run_dir / "config.yaml", OmegaConf.to_yaml(settings))


def _tell(config: StudyConfig) -> None:
    """The study's headline numbers, the chosen seeds, and where the page is; of several processes one speaks."""
    from seedml.report.terminal import tell

    if is_rank_zero(os.environ):
        tell(config)
