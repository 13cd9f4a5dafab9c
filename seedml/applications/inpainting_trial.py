"""The inpainting study as a whole: pictures, filling, rates, advice on seeds, and a sheet of pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from seedml.applications.artifact_rates import ARTIFACTS, TEXT, Verdict, judge
from seedml.applications.holes import Canvas, Task, of_folder, rendered
from seedml.applications.inpainting import Filled, fill_all, inpainting_config, masked_picture, reader
from seedml.applications.sheets import Pixels, contact_sheet
from seedml.captions import parse_caption
from seedml.models.bundled import draws_scenes
from seedml.models.inpainting import load_inpainter
from seedml.per_seed.balance import Ints
from seedml.seedbook import Advice

if TYPE_CHECKING:
    from seedml.config import StudyConfig
    from seedml.prompts import Prompt

PURPOSE = "inpainting"
"""Under which the seed book has its advice."""
FEWEST = 2
"""Pictures that are needed to choose by, and to confirm by."""
_COLUMNS, _ROWS = 4, 3
"""Pictures on the sheet, the first ones of each task, none picked by eye; and seeds of each kind."""


@dataclass(frozen=True)
class Tried:
    """What the study found.

    Attributes:
        found: ``inpainting.json``.
        headline: for the summary.
        sheet: pictures.
        advice: for the seed book.

    """

    found: dict[str, Any]
    headline: dict[str, Any]
    sheet: Pixels
    advice: Advice


@dataclass(frozen=True)
class Pictures:
    """What is to be filled: tasks, and the numbers of the pictures that choose seeds and of those that confirm."""

    tasks: list[Task]
    choosing: Ints
    confirming: Ints
    source: str


def scene_prompts(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """The first so many whose scenes can be rendered."""
    return [prompt for prompt in prompts if parse_caption(prompt.text) is not None][:count]


def has_pictures(config: StudyConfig, choosing: Sequence[Prompt], confirming: Sequence[Prompt]) -> bool:
    """Whether there is anything to fill: a folder, or captions whose scenes can be rendered."""
    if config.apply.inpaint_folder is not None:
        return True
    return all(len(scene_prompts(prompts, FEWEST)) == FEWEST for prompts in (choosing, confirming))


def try_inpainting(
    config: StudyConfig, choosing: Sequence[Prompt], confirming: Sequence[Prompt], seeds: Sequence[int],
    device: torch.device,
) -> Tried:  # fmt: skip
    """Fill masks from every seed and tell the seeds to use and to avoid.

    Args:
        config: the study.
        choosing: prompts that seeds may be chosen by.
        confirming: others.
        seeds: which.
        device: of the model.

    Raises:
        UserError: the model or the pictures cannot be had, or letters cannot be read.

    """
    own = inpainting_config(config)
    model = load_inpainter(own, device)
    sampling = model.sampling
    canvas = Canvas(sampling.height, sampling.width, model.cell, config.apply.inpaint_frame)
    pictures = _pictures(config, choosing, confirming, canvas)
    scenes = draws_scenes(own.model.path)
    confirmed = set(pictures.confirming.tolist())
    shown = _shown([at for at, task in enumerate(pictures.tasks) if task.number in confirmed], pictures.tasks)
    filled = fill_all(model, pictures.tasks, seeds, own, reader(scenes=scenes, device=device), shown)
    verdict = judge(filled, pictures.choosing, pictures.confirming, config.statistics)
    found = {
        "model": own.model.name, "unet_sees_mask": model.knows_masks, "steps": sampling.steps,
        "scheduler": sampling.scheduler, "guidance_scale": sampling.guidance_scale,
        "height": sampling.height, "width": sampling.width, "latent_shape": list(model.latent_shape),
        "pictures": {"source": pictures.source, "choosing": len(pictures.choosing),
                     "confirming": len(pictures.confirming), "tasks_left_out": filled.own_artifacts},
        "text_found_by": "scene parser" if scenes else "RapidOCR, inside the mask",
        "frame": config.apply.inpaint_frame, **verdict.figures,
    }  # fmt: skip
    return Tried(found, _headline(found), _sheet(filled, verdict, shown), _advice(found, config))


def _pictures(
    config: StudyConfig, choosing: Sequence[Prompt], confirming: Sequence[Prompt], canvas: Canvas
) -> Pictures:
    wanted = config.apply
    if wanted.inpaint_folder is not None:
        tasks = of_folder(Path(wanted.inpaint_folder).expanduser(), canvas)
        numbers = np.unique([task.number for task in tasks])
        return Pictures(tasks, numbers[::2], numbers[1::2], wanted.inpaint_folder)
    first = scene_prompts(choosing, wanted.inpaint_pictures)
    others = scene_prompts(confirming, wanted.inpaint_held_out)
    tasks = [*rendered(first, canvas), *rendered(others, canvas, len(first))]
    numbers = np.arange(len(first) + len(others))
    return Pictures(tasks, numbers[: len(first)], numbers[len(first) :], "rendered scenes")


def _shown(places: Sequence[int], tasks: Sequence[Task]) -> list[int]:
    """The first few places of each kind of task, kind by kind."""
    kinds = dict.fromkeys(tasks[at].kind for at in places)
    return [at for kind in kinds for at in [at for at in places if tasks[at].kind == kind][:_COLUMNS]]


def _sheet(filled: Filled, verdict: Verdict, shown: Sequence[int]) -> Pixels:
    """Pictures with their masks, and what seeds to avoid, to use and others filled in."""
    listed = {*verdict.avoid, *verdict.use}
    rest = [int(seed) for seed in filled.seeds if int(seed) not in listed]
    kinds = {"avoid": worst_in_turn(verdict)[:_ROWS], "use": verdict.use[:_ROWS], "others": rest[:_ROWS]}
    rows = [("mask", [masked_picture(filled.tasks[at]) for at in shown])]
    rows += [
        (f"{kind}\nseed {seed}", [filled.pictures[seed, at] for at in shown])
        for kind, seeds in kinds.items()
        for seed in seeds
    ]
    return contact_sheet(rows, [filled.tasks[at].kind for at in shown])


def worst_in_turn(verdict: Verdict) -> list[int]:
    """The seeds to avoid, of each artifact in turn the next worst: so the first few show letters as well as frames.

    Letters come first in each turn: they are what the study is about.
    """
    kinds = verdict.figures["rates"].values()
    worst = [
        [entry["seed"] for entry in sorted(found[artifact]["seeds"], key=lambda entry: -entry["value"])
         if entry["seed"] in verdict.avoid and entry["value"] > 0]
        for artifact in ARTIFACTS for found in kinds if artifact in found
    ]  # fmt: skip
    in_turn = [seed for turn in zip_longest(*worst) for seed in turn if seed is not None]
    return list(dict.fromkeys([*in_turn, *verdict.avoid]))


def _headline(found: Mapping[str, Any]) -> dict[str, Any]:
    """Rates of text in each task; the worst seed's, and what avoiding is worth, on pictures that had no part in it."""
    texts = {kind: rates[TEXT]["rate"] for kind, rates in found["rates"].items() if TEXT in rates}
    headline: dict[str, Any] = {f"inpainting_text_{kind}": rate for kind, rate in texts.items()}
    if "value" in found.get("worst_text", {}):
        headline["inpainting_text_worst_seed"] = found["worst_text"]
    if "removed" in found["held_out"]:
        headline["inpainting_artifacts_removed"] = found["held_out"]["removed"]
    return headline


def _advice(found: Mapping[str, Any], config: StudyConfig) -> Advice:
    n, others = found["pictures"]["choosing"], found["pictures"]["confirming"]
    level = round(1 - config.statistics.confidence, 10)
    basis = (
        f"letters or frames in filled masks of {n} pictures ({found['pictures']['source']}), object removal and "
        f"outpainting, {found['model']}, {found['width']} × {found['height']} px, {found['steps']} steps; avoid: more "
        f"often than the average seed, q ≤ {level:g}; use: less often with a probability of "
        f"{config.statistics.confidence:g}{_worth(found['held_out'])}, on {others} other pictures"
    )
    return Advice(tuple(found["use"]), tuple(found["avoid"]), basis)


def _worth(held_out: Mapping[str, Any]) -> str:
    told = [f"{name.replace('_', ' ')} {held_out[name]['value']:.1%}"
            for name in ("all", "avoid", "use") if name in held_out]  # fmt: skip
    return f"; {', '.join(told)} of pictures" if told else ""
