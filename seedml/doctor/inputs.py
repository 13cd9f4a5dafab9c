"""What the study reads and asks for: prompts, reference, measurements, applications, shards of before, W&B."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from seedml.doctor.findings import MISSING, NOTE, OK, Finding, checked, of_error
from seedml.errors import UserError
from seedml.generation.plan import Plan, plan
from seedml.generation.prompt_report import report_on_prompts
from seedml.prompts import Prompt, load_prompts

if TYPE_CHECKING:
    from seedml.config import StudyConfig

_COCO = ("val2014", "train2014", "val2017", "train2017")
"""Folders of COCO's pictures, each an archive of that name."""


def look_at_prompts(config: StudyConfig) -> tuple[list[Prompt] | None, list[Finding]]:
    """The prompts where they can be had, and what is to be said of them."""
    try:
        prompts = load_prompts(config.prompts)
        report = report_on_prompts(config, prompts)
    except UserError as error:
        return None, [of_error("prompts", error)]
    splits = [prompt.split for prompt in prompts]
    counts = ", ".join(f"{name} {splits.count(name):,}" for name in dict.fromkeys(splits))
    source = config.prompts.file or config.prompts.set
    found = [Finding("prompts", OK, f"{len(prompts):,} of {source} ({counts})")]
    found += [Finding("prompts", NOTE, line) for line in report.lines()]
    if report.encoders is None:
        found.append(Finding("prompts", NOTE, "their length is not known without the model's tokenizer"))
    return prompts, found


def look_at_shards(config: StudyConfig, prompts: Sequence[Prompt] | None) -> tuple[Plan | None, list[Finding]]:
    """What is there already of the images, and whether it was made with these settings."""
    if prompts is None:
        return None, []
    try:
        planned = plan(config, prompts)
    except UserError as error:
        return None, [of_error("images", error)]
    done = f"{planned.images_done:,} done, {planned.images_left:,} to make"
    return planned, [Finding("images", OK, f"{planned.images:,}: {done}"), *_elsewhere(config)]


def _elsewhere(config: StudyConfig) -> Iterator[Finding]:
    """The library that a URL of shards needs."""
    if config.shards.url is None:
        return
    import fsspec

    protocol = config.shards.url.partition("://")[0]
    try:
        fsspec.get_filesystem_class(protocol)
    except (ImportError, ValueError) as error:
        command = f"pip install {'s3fs' if protocol == 's3' else 'gcsfs' if protocol in ('gs', 'gcs') else protocol}"
        yield Finding("shards.url", MISSING, str(error).splitlines()[0], command)
        return
    yield Finding("shards.url", NOTE, f"{config.shards.url} is looked at by the study itself: no network is used here")


def look_at_measurements(config: StudyConfig, prompts: Sequence[Prompt] | None) -> Iterator[Finding]:
    """Attributes, reference, classifier and applications, checked as the study checks them."""
    yield checked("attributes", lambda: _attributes(config))
    yield checked("classifier", lambda: _classifier(config))
    if prompts is not None or config.reference.path is not None:
        reference = checked("reference", lambda: _reference(config, prompts or []))
        yield reference if reference.state == OK else replace(reference, remedy=_get_coco(config) or reference.remedy)
    if prompts is not None:
        yield checked("applications", lambda: _applications(config, prompts))
    elif "inpainting" in config.apply.run and config.apply.inpaint_folder is not None:
        yield checked("applications", lambda: _pictures(str(config.apply.inpaint_folder)))


def _classifier(config: StudyConfig) -> str:
    from seedml.classifier.networks import check_network

    check_network(config.classifier.architecture, config.classifier.image_size)
    return f"{config.classifier.architecture}, {config.classifier.image_size} px"


def _attributes(config: StudyConfig) -> str:
    """Networks of others are looked at in ``weights``, without loading them; here it is names that count."""
    from seedml.attributes import load_attributes
    from seedml.features import load_network, network_names

    load_attributes(config.measure.attributes)
    for name in (config.measure.features, *config.measure.vectors):
        if name not in network_names() or name not in config.measure.networks:
            load_network(name)
    return f"{len(config.measure.attributes)} attributes; FID from {config.measure.features}"


def _reference(config: StudyConfig, prompts: Sequence[Prompt]) -> str:
    from seedml.measurement.reference import check_reference

    check_reference(config.reference, prompts)
    return config.reference.path or f"rendered scenes, {config.reference.images_per_prompt} a prompt"


def _get_coco(config: StudyConfig) -> str:
    """The command for a folder of COCO's pictures that is not there; empty where another one is meant."""
    path = Path(str(config.reference.path)).expanduser()
    if path.name not in _COCO or path.exists():
        return ""
    return f"curl -LO http://images.cocodataset.org/zips/{path.name}.zip && unzip {path.name}.zip -d {path.parent}"


def _pictures(folder: str) -> str:
    from seedml.applications.holes import hashes_of

    return f"{len(hashes_of(Path(folder).expanduser()))} files in {folder}"


def _applications(config: StudyConfig, prompts: Sequence[Prompt]) -> str:
    """Spaces that a network of others gives are left out: that network is looked at in ``weights``."""
    from seedml.applications import check_applications

    others = set(config.measure.networks)
    spaces = [space for space in config.apply.diverse_spaces if not others & set(space.split("+"))] or ["features"]
    own = replace(config.apply, diverse_spaces=spaces, diverse_space=spaces[0])
    check_applications(replace(config, apply=own, measure=replace(config.measure, networks={})), prompts)
    return ", ".join(config.apply.run)


def look_at_tracking(config: StudyConfig) -> Iterator[Finding]:
    """Whether W&B can be spoken to; runs that are kept offline are no obstacle."""
    from seedml.tracking.server import has_credentials

    mode = config.tracking.mode
    login = "wandb login, or export WANDB_API_KEY=…"
    if mode == "disabled":
        yield Finding("W&B", OK, "switched off (tracking.mode=disabled); the journal is kept all the same")
    elif has_credentials():
        yield Finding("W&B", OK, f"there is an API key (tracking.mode={mode})")
    elif mode == "online":
        yield Finding("W&B", MISSING, "tracking.mode=online, and no API key is configured", login)
    elif mode == "offline":
        yield Finding("W&B", OK, "kept offline (tracking.mode=offline)")
    else:
        yield Finding("W&B", NOTE, "no API key: runs are kept offline", login)
