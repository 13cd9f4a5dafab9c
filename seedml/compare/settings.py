"""In what do the compared studies differ? Their settings and what their models said of themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from seedml.compare.runs import StudiedRun
from seedml.files import read_json
from seedml.shards.dataset import FILE as DATASET

_KINDS = ("seeds", "model", "prompts", "sampler", "noise", "measure", "reference", "statistics", "selection")
"""Sections that say what a study is; where it ran and how it was told of do not make it another one."""
_NOISY = ("sampler.batch_size", "measure.batch_size")
"""Keys that change rounding at most."""


def differing_settings(studies: Sequence[StudiedRun]) -> dict[str, list[object]]:
    """Dotted key -> its value in every study, for the keys that are not the same in all; ``None`` where absent."""
    flat = [_flat(_said(study)) for study in studies]
    keys = list(dict.fromkeys(key for settings in flat for key in settings))
    table = {key: [settings.get(key) for settings in flat] for key in keys if key not in _NOISY}
    return {key: values for key, values in table.items() if any(value != values[0] for value in values)}


def _said(study: StudiedRun) -> dict[str, Any]:
    """The study's settings, with what its model resolved them to, and the hash of its weights."""
    said = {kind: study.run.settings[kind] for kind in _KINDS if kind in study.run.settings}
    if study.run.model:
        said["made_with"] = dict(study.run.model)
    path = study.run.shard_dir / DATASET
    if path.is_file():
        settings: Any = read_json(path).get("settings", {})
        weights = settings.get("weights", {}).get("sha256")
        if weights:
            said["weights"] = str(weights)[:12]
    return said


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
