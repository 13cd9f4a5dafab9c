"""The images that a seed's images are compared with, as features of the same network.

By default scenes rendered from the study's own captions: what the bundled model would draw if it were perfect and its
noise had no say. For prompts outside that world a path has to be given: a folder of images, or a file of features or
of their mean and covariance (``reference_files``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from seedml.captions import Caption, parse_caption
from seedml.errors import UserError
from seedml.files import sha256_of
from seedml.measurement.reference_files import ReferenceFeatures as ReferenceFeatures
from seedml.measurement.reference_files import ReferenceStatistics as ReferenceStatistics
from seedml.measurement.reference_files import checked_arrays, read_reference_file
from seedml.pixels import rgb_pixels
from seedml.progress import progress_bar
from seedml.prompts import Prompt

if TYPE_CHECKING:
    from seedml.config import ReferenceConfig
    from seedml.features import FeatureNetwork

SCENES_SEED = 1_706_08500
"""The reference's own stream of scenes: none of those the bundled model was trained on."""
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
_REMEDY = (
    "prompts.set=scenes, or reference.path=<a folder of images, or features or mu and sigma in .npz or .safetensors>"
)

Embed = Callable[[torch.Tensor], torch.Tensor]
"""``N × 3 × H × W`` uint8 -> ``N × D`` float32."""


def check_reference(
    config: ReferenceConfig, prompts: Sequence[Prompt], network: FeatureNetwork | None = None
) -> dict[str, object]:
    """Fail before the hours if there can be no reference; else what determines it, for the step's settings.

    Args:
        config: which.
        prompts: the study's.
        network: whose features a file must hold; ``None`` looks at the file's format alone.

    Raises:
        UserError: prompts that are no captions of the bundled world and no path; a path that does not exist; a file of
            no known format or of another network.

    """
    if config.path is None:
        _captions(prompts)
        return {"set": config.set, "images_per_prompt": config.images_per_prompt}
    path = Path(str(config.path)).expanduser()
    if not path.exists():
        raise UserError("reference.path does not exist", given=str(path), remedy=_REMEDY)
    if path.is_dir():
        return {"path": str(path), "sha256": ""}
    checked_arrays(path, network)
    return {"path": str(path), "sha256": sha256_of(path)}


def make_reference(
    config: ReferenceConfig, prompts: Sequence[Prompt], network: FeatureNetwork, embed: Embed, device: torch.device,
    batch_size: int,
) -> ReferenceStatistics:  # fmt: skip
    """The reference of a study.

    Args:
        config: which.
        prompts: the study's, for rendered scenes.
        network: whose features; stored features must be of the same.
        embed: the network on ``device``.
        device: where to draw and embed.
        batch_size: images at a time.

    """
    given = config.path
    if given is None:
        return _of_scenes(prompts, config.images_per_prompt, embed, device, batch_size)
    path = Path(given).expanduser()
    return _of_folder(path, embed, device, batch_size) if path.is_dir() else read_reference_file(path, network)


def _captions(prompts: Sequence[Prompt]) -> list[Caption]:
    captions = [parse_caption(prompt.text) for prompt in prompts]
    for prompt, caption in zip(prompts, captions, strict=True):
        if caption is None:
            raise UserError(
                f"prompt {prompt.prompt_id} names no scene of the bundled world, so no reference can be rendered",
                given=prompt.text, legal="one object, one colour and one ground of seedml.captions", remedy=_REMEDY,
            )  # fmt: skip
    return [caption for caption in captions if caption is not None]


def _of_scenes(
    prompts: Sequence[Prompt], per_prompt: int, embed: Embed, device: torch.device, batch_size: int
) -> ReferenceFeatures:
    """Rendered scenes: the k-th of a prompt depends on prompt_id and k alone."""
    from seedml.models.bundled.scenes import draw, sample_scenes

    captions = [caption for caption in _captions(prompts) for _ in range(per_prompt)]
    prompt_ids = np.repeat([prompt.prompt_id for prompt in prompts], per_prompt)
    indices = prompt_ids * per_prompt + np.tile(np.arange(per_prompt), len(prompts))
    features = []
    with progress_bar("reference", total=len(captions), unit="images") as bar:
        for rows in _slices(len(captions), batch_size):
            scenes = sample_scenes(SCENES_SEED, indices[rows], captions[rows]).to(device)
            features.append(embed(draw(scenes)).cpu().numpy())
            bar.advance(rows.stop - rows.start)
    return ReferenceFeatures(np.concatenate(features), prompt_ids, f"rendered scenes, {per_prompt} a prompt")


def _slices(total: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, total)) for start in range(0, total, size))


def _of_folder(folder: Path, embed: Embed, device: torch.device, batch_size: int) -> ReferenceFeatures:
    """All images below a folder; one batch holds images of one size."""
    from PIL import Image

    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if len(paths) < 2:
        raise UserError("reference.path holds fewer than two images", given=str(folder), legal=", ".join(_SUFFIXES))
    features: list[NDArray[np.float32]] = []
    waiting: list[torch.Tensor] = []
    with progress_bar("reference", total=len(paths), unit="images") as bar:
        for path in paths:
            with Image.open(path) as image:
                pixels = torch.from_numpy(rgb_pixels(image)).permute(2, 0, 1)
            if waiting and (len(waiting) == batch_size or waiting[0].shape != pixels.shape):
                features.append(embed(torch.stack(waiting).to(device)).cpu().numpy())
                waiting = []
            waiting.append(pixels)
            bar.advance()
        features.append(embed(torch.stack(waiting).to(device)).cpu().numpy())
    return ReferenceFeatures(np.concatenate(features), np.full(len(paths), -1), f"images in {folder}")
