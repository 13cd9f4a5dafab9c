"""A few lines of plain diffusers that make a picture with the golden seeds, without seedml."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BUNDLED = "bundled:seedling"


def snippet(settings: Mapping[str, Any], seeds: Sequence[int], prompt: str, used: Mapping[str, Any]) -> str:
    """Runnable Python: load the study's model, set its sampler, one picture a seed.

    Whatever comes from the user (paths, names, the prompt) is written with ``repr``, so it stays a string.

    Args:
        settings: the resolved configuration.
        seeds: the seeds to use.
        prompt: the example's prompt.
        used: what the model was run with (size, steps …), where that is known; goes before the settings.

    """
    model, sampler = dict(settings.get("model", {})), dict(settings.get("sampler", {}))
    actual = {**model, **{key: value for key, value in sampler.items() if value is not None}, **used}
    lines = ["import torch"]
    lines += _load(model, sampler)
    lines += _scheduler(model, sampler)
    lines += ["", f"for seed in {list(seeds)!r}:", "    image = pipeline("]
    lines += [f"        {line}," for line in [repr(prompt), *_call(settings, actual)]]
    lines += ["    ).images[0]", '    image.save(f"seed-{seed}.png")']
    return "\n".join(lines) + "\n"


def caveats(settings: Mapping[str, Any]) -> list[str]:
    """What the snippet cannot carry over from this study's settings."""
    noise = settings.get("noise", {})
    notes = []
    if noise.get("step_seed") is not None or noise.get("initial_seed") is not None:
        notes.append(
            "This study fixes the initial or the step noise apart from the seed (noise.initial_seed, noise.step_seed): "
            "one generator in plain diffusers does not repeat that."
        )
    return notes


def _load(model: Mapping[str, Any], sampler: Mapping[str, Any]) -> list[str]:
    imports = ["from diffusers import DiffusionPipeline"]
    if model.get("path") == BUNDLED:
        imports.append("from seedml.models.bundled import seedling_folder  # the model that travels with seedml")
        source = "seedling_folder()"
    else:
        source = repr(str(model.get("path", "")))
    options = [f"{key}={model[key]!r}" for key in ("revision", "variant") if model.get(key)]
    options.append(f"torch_dtype=torch.{_identifier(sampler.get('dtype') or model.get('dtype') or 'float32')}")
    return [*imports, "", f"pipeline = DiffusionPipeline.from_pretrained({', '.join([source, *options])})"]


def _scheduler(model: Mapping[str, Any], sampler: Mapping[str, Any]) -> list[str]:
    name, given = sampler.get("scheduler") or model.get("scheduler"), model.get("scheduler_options") or {}
    if not name and not given:
        return []
    options = "".join(f", {_identifier(key)}={value!r}" for key, value in given.items())
    scheduler = _identifier(name) if name else "type(pipeline.scheduler)"
    imports = [f"from diffusers import {scheduler}", ""] if name else []
    return [*imports, f"pipeline.scheduler = {scheduler}.from_config(pipeline.scheduler.config{options})"]


def _call(settings: Mapping[str, Any], actual: Mapping[str, Any]) -> list[str]:
    device = settings.get("noise", {}).get("generator_device") or "cpu"
    call = [f"generator=torch.Generator({str(device)!r}).manual_seed(seed)"]
    names = {"num_inference_steps": "steps", "guidance_scale": "guidance_scale", "height": "height", "width": "width"}
    return call + [f"{argument}={actual[key]!r}" for argument, key in names.items() if actual.get(key) is not None]


def _identifier(name: object) -> str:
    """``name`` if it is a plain identifier; anything else has no place in code and is refused."""
    assert str(name).isidentifier(), f"{name!r} is no Python name"
    return str(name)
