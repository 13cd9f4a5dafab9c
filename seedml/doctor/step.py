"""The command ``doctor``: all findings in the order of the study, and an exit status."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from seedml.doctor.findings import Finding, can_run, text_of
from seedml.doctor.inputs import (
    look_at_measurements,
    look_at_prompts,
    look_at_shards,
    look_at_tracking,
)
from seedml.doctor.libraries import look_at_libraries
from seedml.doctor.machine import look_at_device, look_at_disks
from seedml.doctor.weights import look_at_models, look_at_networks

if TYPE_CHECKING:
    from seedml.config import StudyConfig


def doctor(config: StudyConfig, *, as_json: bool = False) -> None:
    """Print what is here and what is missing.

    Args:
        config: the study.
        as_json: one JSON object for a program instead of lines for people.

    Raises:
        SystemExit: 1 where the study cannot run.

    """
    findings = examine(config)
    if as_json:
        said = {"name": config.name, "can_run": can_run(findings), "findings": [one.as_dict() for one in findings]}
        print(json.dumps(said, ensure_ascii=False))
    else:
        print(f"{config.name}: what the study needs, and what of it is here\n{text_of(findings)}")
    if not can_run(findings):
        raise SystemExit(1)


def examine(config: StudyConfig) -> list[Finding]:
    """All findings. Uses no network and writes nothing."""
    prompts, about_prompts = look_at_prompts(config)
    planned, about_shards = look_at_shards(config, prompts)
    return [
        *look_at_libraries(config), *look_at_models(config), *look_at_device(config), *about_prompts, *about_shards,
        *look_at_disks(config, planned), *look_at_networks(config), *look_at_measurements(config, prompts),
        *look_at_tracking(config),
    ]  # fmt: skip
