"""Pictures that steps after ``generate`` make beyond the grid, counted before the first of them is made.

``classify`` shows its classifier seeds that it never saw; ``apply`` tries chosen seeds on prompts that the study left
unused, swaps noise and fills masks. What is done already is not counted. Makes nothing, loads no model.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seedml.applications.holes import count_tasks
from seedml.applications.inpainting_trial import PURPOSE, scene_prompts
from seedml.applications.unseen import UNUSED, unseen_prompts
from seedml.classifier.controls import path_of
from seedml.classifier.explanation import made_pictures
from seedml.errors import UserError
from seedml.generation.estimate import human_seconds
from seedml.selection.diversity import METHODS

if TYPE_CHECKING:
    from seedml.config import StudyConfig
    from seedml.generation.warmup import Warmup
    from seedml.prompts import Prompt

_POOLS = 3
"""That diverse sets are taken among, at most."""


class Later(NamedTuple):
    """Pictures of one purpose.

    Attributes:
        use: ``open_set``, or an application.
        what: what they are of, in a few words.
        images: how many.
        steps: sampling steps of each; ``None`` where another model makes them.
        at_most: whether the exact number depends on results.

    """

    use: str
    what: str
    images: int
    steps: int | None
    at_most: bool = False

    def seconds(self, config: StudyConfig, warmup: Warmup | None) -> float | None:
        """About how long they take on one device; ``None`` where nothing tells."""
        own = config.sampler.steps
        if warmup is None or self.steps is None or not own:
            return None
        return -(-self.images // warmup.batch_size) * warmup.seconds_per_batch * self.steps / own

    def text(self, seconds: float | None = None) -> str:
        """For people."""
        step = "classify" if self.use == "open_set" else "apply"
        about = "" if seconds is None else f", about {human_seconds(seconds)}"
        return f"{step}: {'at most ' if self.at_most else ''}{self.images:,} images {self.what}{about}"


def later_pictures(config: StudyConfig, prompts: Sequence[Prompt]) -> list[Later]:
    """What is still to be made after ``generate``.

    Args:
        config: the study.
        prompts: its prompts.

    """
    return [later for later in [*_of_classifier(config, prompts), *_of_applications(config, prompts)] if later.images]


def later_lines(config: StudyConfig, prompts: Sequence[Prompt], warmup: Warmup | None = None) -> list[str]:
    """:func:`later_pictures` for people, a line each, and all of them together; nothing where there are none.

    Args:
        config: the study.
        prompts: its prompts.
        warmup: what pictures take here.

    """
    found = later_pictures(config, prompts)
    if not found:
        return []
    times = [later.seconds(config, warmup) for later in found]
    known = [seconds for seconds in times if seconds is not None]
    lines = [later.text(seconds) for later, seconds in zip(found, times, strict=True)]
    together = f"together {sum(later.images for later in found):,} images beyond the grid"
    if len(known) == len(found):
        together += f", about {human_seconds(sum(known))} on one device"
    return [f"  {'later' if at == 0 else '':<8}{line}" for at, line in enumerate([*lines, together])]


def later_sentence(config: StudyConfig, prompts: Sequence[Prompt]) -> str:
    """:func:`later_pictures` in one line; empty where there are none."""
    found = later_pictures(config, prompts)
    parts = ", ".join(f"{'at most ' if later.at_most else ''}{later.images:,} {later.what}" for later in found)
    total = sum(later.images for later in found)
    return f"{config.name}: later steps make {total:,} images beyond the grid: {parts}" if found else ""


def _of_classifier(config: StudyConfig, prompts: Sequence[Prompt]) -> list[Later]:
    done = path_of(config.run_dir / "classifier", "open_set").is_file()
    if "open_set" not in config.classifier.controls or done:
        return []
    count = made_pictures(config, sum(prompt.split == "test" for prompt in prompts))
    return [Later("open_set", "of seeds outside the study (open_set)", count, config.sampler.steps)]


def _of_applications(config: StudyConfig, prompts: Sequence[Prompt]) -> list[Later]:
    results = config.run_dir / "applications"
    uses = [use for use in config.apply.run if not (results / f"{use}.json").is_file()]
    if not uses or len(config.seed_list) < 2:
        return []
    try:
        held_out = unseen_prompts(
            config.prompts, {prompt.prompt_id: prompt for prompt in prompts}, config.apply.prompts
        )
    except UserError:
        return []  # too few: `study` and `apply` say so
    found = [_of_unused_prompts(config, uses, sum(prompt.split == UNUSED for prompt in held_out))]
    if "noise_swap" in uses:
        found.append(_swaps(config, len(held_out)))
    if PURPOSE in uses:
        found.append(_filled(config, prompts, held_out))
    return found


def _of_unused_prompts(config: StudyConfig, uses: Collection[str], fresh: int) -> Later:
    """Chosen and random seeds on prompts of which the study has no image."""
    wanted, seeds = config.apply, len(config.seed_list)
    chosen = 0
    if "high_fidelity" in uses:
        chosen += config.selection.golden + config.selection.inferior
    if "diverse_sampling" in uses and seeds >= wanted.diverse:
        chosen += len(wanted.diverse_spaces) * len(METHODS) * _POOLS * wanted.diverse
    random = min(seeds, wanted.random_seeds)
    count = min(seeds, random + chosen) if chosen else 0
    what = f"of {fresh} prompts that the study leaves unused"
    return Later("unused_prompts", what, count * fresh, config.sampler.steps, at_most=count > random)


def _swaps(config: StudyConfig, prompts: int) -> Later:
    """Each swap is made with a switch before every step, and wholly with either seed's noise."""
    wanted = config.apply
    steps = wanted.swap_steps or config.sampler.steps
    if (config.noise.initial_seed, config.noise.step_seed) != (None, None) or steps is None:
        return Later("noise_swap", "", 0, None)
    swaps = min(wanted.swap_pairs, len(config.seed_list) // 2) * min(wanted.swap_prompts, prompts)
    return Later("noise_swap", f"of {swaps:,} noise swaps at {steps + 2} places", swaps * (steps + 2), steps)


def _filled(config: StudyConfig, prompts: Sequence[Prompt], held_out: Sequence[Prompt]) -> Later:
    """Every seed fills every mask."""
    wanted = config.apply
    if wanted.inpaint_folder is not None:
        masks = count_tasks(Path(wanted.inpaint_folder).expanduser())
    else:
        choosing = [prompt for prompt in prompts if prompt.split in ("train", "val")]
        scenes = [scene_prompts(choosing, wanted.inpaint_pictures), scene_prompts(held_out, wanted.inpaint_held_out)]
        masks = 2 * sum(map(len, scenes))
    count = masks * min(len(config.seed_list), wanted.inpaint_seeds)
    steps = wanted.inpaint_steps or config.sampler.steps
    return Later(
        PURPOSE, f"of {masks:,} masks filled", count, steps if wanted.inpaint_model is None else None
    )  # fmt: skip
