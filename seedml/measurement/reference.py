"""The images that a seed's images are compared with, as features of the same network.

By default scenes rendered from the study's own captions: what the bundled model would draw if it were perfect and its
noise had no say. For prompts outside that world a path has to be given: images (``reference_images``), or a file of
features or of their mean and covariance (``reference_files``).
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
from seedml.measurement.reference_images import PictureSet, find_pictures, is_picture_source, set_hash
from seedml.progress import progress_bar
from seedml.prompts import Prompt

if TYPE_CHECKING:
    from seedml.config import ReferenceConfig
    from seedml.features import FeatureNetwork

SCENES_SEED = 1_706_08500
"""The reference's own stream of scenes: none of those the bundled model was trained on."""
_HELD = 4
"""Batches of pictures that may wait for others of their size."""
_REMEDY = (
    "prompts.set=scenes, or reference.path=<a folder of images or shards, a .tar, or features or mu and sigma in .npz "
    "or .safetensors>"
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
            no known format or of another network; images that ``find_pictures`` refuses.

    """
    if config.path is None:
        _captions(prompts)
        return {"set": config.set, "images_per_prompt": config.images_per_prompt}
    path = Path(str(config.path)).expanduser()
    if not path.exists():
        raise UserError("reference.path does not exist", given=str(path), remedy=_REMEDY)
    if is_picture_source(path):
        found = find_pictures(config)
        given = {"annotations": config.annotations, "limit": config.limit}
        return {"path": str(path), "sha256": found.listing} | {key: value for key, value in given.items() if value}
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
    if is_picture_source(path):
        return _of_pictures(find_pictures(config), embed, device, batch_size)
    return read_reference_file(path, network)


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


def _of_pictures(pictures: PictureSet, embed: Embed, device: torch.device, batch_size: int) -> ReferenceFeatures:
    """Features of pictures of any sizes; a batch holds pictures of one size, rows stay in the set's order."""
    batches, hashes = _Batches(embed, device, batch_size), []
    with progress_bar("reference", total=len(pictures.places), unit="images") as bar:
        for row, (pixels, digest) in enumerate(pictures.read()):
            hashes.append((pictures.places[row].name, digest))
            batches.add(row, torch.from_numpy(pixels).permute(2, 0, 1))
            bar.advance()
        features = batches.finish()
    prompt_ids = np.full(len(features), -1)
    return ReferenceFeatures(features, prompt_ids, f"{len(features)} {pictures.words}", set_hash(hashes))


class _Batches:
    """Pictures that wait for others of their size, since a batch holds one size."""

    def __init__(self, embed: Embed, device: torch.device, batch_size: int) -> None:
        self._embed, self._device, self._batch_size = embed, device, batch_size
        self._waiting: dict[tuple[int, ...], list[tuple[int, torch.Tensor]]] = {}
        self._vectors: dict[int, NDArray[np.float32]] = {}

    def add(self, row: int, image: torch.Tensor) -> None:
        """``3 × H × W`` uint8."""
        of_size = self._waiting.setdefault(tuple(image.shape), [])
        of_size.append((row, image))
        if len(of_size) == self._batch_size:
            self._flush(tuple(image.shape))
        elif sum(map(len, self._waiting.values())) >= _HELD * self._batch_size:
            self._flush(max(self._waiting, key=lambda size: len(self._waiting[size])))

    def _flush(self, size: tuple[int, ...]) -> None:
        rows, images = zip(*self._waiting.pop(size), strict=True)
        vectors = self._embed(torch.stack(images).to(self._device)).cpu().numpy()
        self._vectors.update(zip(rows, vectors, strict=True))

    def finish(self) -> NDArray[np.float32]:
        """The vectors of all pictures by row."""
        for size in list(self._waiting):
            self._flush(size)
        return np.stack([self._vectors[row] for row in range(len(self._vectors))])
