"""Inpainting: which seeds write letters, or draw frames, where a mask is to be filled?

Every seed fills the mask of every picture, for object removal and for outpainting. What is outside of a mask is put
back from the picture before anything is looked for, and pictures that show letters or a frame themselves are left out:
so what is found is in the mask. What follows for seeds is in ``artifact_rates.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from seedml.applications.artifact_rates import ARTIFACTS, BORDER, TEXT
from seedml.applications.holes import TASKS, Task
from seedml.applications.sheets import Pixels, thumbnail
from seedml.attributes import AttributeBatch, load_attributes, measure_attributes
from seedml.attributes.lettering import lettering_within, need_reader
from seedml.config import ModelConfig, named_model
from seedml.noise import cell_noise
from seedml.per_seed.balance import Floats, Ints
from seedml.progress import track

if TYPE_CHECKING:
    from seedml.config import StudyConfig
    from seedml.models.inpainting import Inpainter

Reader = Callable[[Tensor, Tensor], Mapping[str, Tensor]]
"""``N × 3 × H × W`` uint8 with masks ``N × H × W`` bool -> artifact -> ``N`` of 0, 1 or NaN."""


def inpainting_config(config: StudyConfig) -> StudyConfig:
    """The study with the model and the sampler that fill masks."""
    wanted, sampler, model = config.apply, config.sampler, config.model
    if wanted.inpaint_model is not None:
        sampler = replace(sampler, steps=None, guidance_scale=None, scheduler=None)
        named = named_model(wanted.inpaint_model)
        # a checker stays only where the model's own file keeps it: what it blackens would look like a filled mask
        model = named or ModelConfig(path=wanted.inpaint_model, dtype=config.model.dtype, safety_checker=False)
        revision, variant = wanted.inpaint_revision, wanted.inpaint_variant
        model = replace(model, revision=revision or model.revision, variant=variant or model.variant)
    steps = sampler.steps if wanted.inpaint_steps is None else wanted.inpaint_steps
    guidance = sampler.guidance_scale if wanted.inpaint_guidance is None else wanted.inpaint_guidance
    return replace(config, model=model, sampler=replace(sampler, steps=steps, guidance_scale=guidance))


def reader(*, scenes: bool, device: torch.device) -> Reader:
    """What looks for artifacts.

    Args:
        scenes: the filled pictures are of seedling's world: letters are found by the scene parser. Else they are read
            (RapidOCR), within the mask.
        device: of the networks.

    Raises:
        UserError: letters are to be read and the extra ``ocr`` is not installed.

    """
    attributes = load_attributes(["lettering", "border"] if scenes else ["border"])
    if not scenes:
        need_reader()

        def read(images: Tensor, masks: Tensor) -> Mapping[str, Tensor]:
            found = measure_attributes(attributes, AttributeBatch(images, [""] * len(images)))
            return {TEXT: lettering_within(images, masks)["lettering"], BORDER: found["border"]}

        return read
    from seedml.models.bundled.parser import load_parser

    parser = load_parser(device)

    def parse(images: Tensor, masks: Tensor) -> Mapping[str, Tensor]:
        batch = AttributeBatch(images, [""] * len(images), parser.read(images))
        found = measure_attributes(attributes, batch)
        return {TEXT: found["lettering"], BORDER: found["border"]}

    return parse


@dataclass(frozen=True)
class Filled:
    """What every seed filled into every mask.

    Attributes:
        seeds: ``S``.
        tasks: ``T``.
        tables: artifact -> ``S × T`` of 0, 1 and NaN: no picture, or one that showed the artifact before.
        pictures: (seed, task) -> small copies of the tasks that were to be shown.
        own_artifacts: tasks whose picture showed an artifact before.

    """

    seeds: Ints
    tasks: Sequence[Task]
    tables: Mapping[str, Floats]
    pictures: Mapping[tuple[int, int], Pixels]
    own_artifacts: int

    def of_task(self, artifact: str, kind: str, numbers: Ints) -> Floats:
        """One task's table for some pictures, ``S × M``; NaN where a picture has no such task."""
        table = np.full((len(self.seeds), len(numbers)), np.nan)
        for at, task in enumerate(self.tasks):
            places = np.flatnonzero(numbers == task.number)
            if task.kind == kind and len(places):
                table[:, places[0]] = self.tables[artifact][:, at]
        return table

    def any_artifact(self, numbers: Ints) -> Floats:
        """1 where any task of the picture shows any artifact, else 0: ``S × M``.

        One number a picture, so that its two tasks, which start from the same noise, do not count as two witnesses.
        NaN where nothing is known.
        """
        stacked = np.stack([self.of_task(name, kind, numbers) for name in ARTIFACTS for kind in TASKS])
        unknown = np.isnan(stacked).all(axis=0)
        return np.where(unknown, np.nan, np.where(np.isnan(stacked), 0.0, stacked).max(axis=0))


def fill_all(
    model: Inpainter, tasks: Sequence[Task], seeds: Sequence[int], config: StudyConfig, look: Reader,
    shown: Sequence[int] = (),
) -> Filled:  # fmt: skip
    """Fill every mask from every seed, and look for artifacts.

    Args:
        model: fills.
        tasks: of the model's size.
        seeds: which.
        config: noise and batch size.
        look: finds artifacts.
        shown: tasks whose pictures are kept small.

    """
    tables = {name: np.full((len(seeds), len(tasks)), np.nan) for name in ARTIFACTS}
    pictures: dict[tuple[int, int], Pixels] = {}
    embeddings = model.embed([task.prompt for task in tasks])
    holes = [model.hole(task.picture, task.mask) for task in tasks]
    cells = [(row, at) for at in range(len(tasks)) for row in range(len(seeds))]
    size = config.sampler.batch_size
    for chunk in track([cells[i : i + size] for i in range(0, len(cells), size)], "fill masks", unit="batches"):
        rows, places = [row for row, _ in chunk], [at for _, at in chunk]
        noise, generators = cell_noise([seeds[row] for row in rows], model.latent_shape, config.noise)
        made = model.fill(embeddings[places], [holes[at] for at in places], noise, generators)
        pasted = _pasted(made.images, [tasks[at] for at in places])
        masks = torch.stack([tasks[at].mask for at in places]).to(pasted.device)
        usable = made.usable.cpu().numpy()
        for name, values in look(pasted, masks).items():
            tables[name][rows, places] = np.where(usable, values.float().cpu().numpy(), np.nan)
        for image, row, at in zip(pasted, rows, places, strict=True):
            if at in shown:
                pictures[seeds[row], at] = thumbnail(_as_pixels(image))
    before = _shown_before(tasks, look, model.pipeline._execution_device, size)
    for name, table in tables.items():
        table[:, before[name]] = np.nan
    own = int(np.stack(list(before.values())).any(axis=0).sum())
    return Filled(np.array(seeds, np.int64), tasks, tables, pictures, own)


def _shown_before(tasks: Sequence[Task], look: Reader, device: torch.device, size: int) -> dict[str, NDArray[np.bool_]]:
    """Artifact -> ``T`` bool: the picture itself shows it, before anything is filled."""
    parts: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in ARTIFACTS}
    for some in (tasks[start : start + size] for start in range(0, len(tasks), size)):
        images, masks = (torch.stack(own).to(device) for own in zip(*((t.picture, t.mask) for t in some), strict=True))
        for name, values in look(images, masks).items():
            parts[name].append(np.nan_to_num(values.float().cpu().numpy()) > 0)
    return {name: np.concatenate(own) for name, own in parts.items()}


def _pasted(images: Tensor, tasks: Sequence[Task]) -> Tensor:
    """The filled masks in their pictures: ``N × 3 × H × W`` uint8."""
    masks = torch.stack([task.mask for task in tasks])[:, None].to(images.device)
    return torch.where(masks, images, torch.stack([task.picture for task in tasks]).to(images.device))


def _as_pixels(image: Tensor) -> Pixels:
    return np.ascontiguousarray(image.cpu().numpy().transpose(1, 2, 0))


def masked_picture(task: Task) -> Pixels:
    """The picture with its mask in gray, small."""
    return thumbnail(_as_pixels(torch.where(task.mask, torch.full_like(task.picture, 128), task.picture)))
