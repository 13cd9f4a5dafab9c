"""The control ``transfer``: does the classifier know its seeds in pictures of another model, or of other steps?

It is asked about another data set's pictures of the same seeds, of prompts it was not trained on. Where the initial
noise of a seed is the same in both, that which survives the change of model is the noise's doing; where it is not
(another shape of latents, another generator), chance is what to expect.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedml.classifier.context import Context
from seedml.classifier.evidence import exact_share
from seedml.classifier.full_size import MOST_IMAGES, chosen_samples, some_prompts
from seedml.classifier.noise_readback import recorded_noise
from seedml.classifier.robustness import UNTOUCHED, recognised
from seedml.errors import UserError
from seedml.files import differing_keys, fingerprint
from seedml.shards.dataset import FILE, ShardDataset, open_dataset
from seedml.shards.reader import read_marker

if TYPE_CHECKING:
    from seedml.config import StudyConfig


def check_transfer(config: StudyConfig, dataset: ShardDataset) -> None:
    """Refuse before the training what could not be tested after it.

    Raises:
        UserError: a folder of ``classifier.transfer`` holds no shards, none of the study's seeds, or no prompt that
            the classifier is not trained on.

    """
    for folder in config.classifier.transfer:
        other = open_dataset(Path(folder))
        if not other.shards():
            raise UserError(f"{folder} of classifier.transfer holds no finished shards",
                            remedy="run `seedml generate` for it first")  # fmt: skip
        if not _shared_seeds(config, other):
            raise UserError(
                f"{folder} of classifier.transfer has none of the study's seeds", given=folder,
                legal="a data set with seeds in common", remedy="generate it with the same seeds=…",
            )  # fmt: skip
        if not unseen_prompts(dataset, other):
            raise UserError(
                f"the classifier is trained on all prompts of {folder}: its pictures would prove nothing", given=folder,
                legal="a data set with prompts of this study's test split, or others",
                remedy="generate it with more prompts, or with others",
            )  # fmt: skip


def each_folder(folders: Iterable[str]) -> list[str]:
    """The folders, each once, whatever the spelling: the first one counts."""
    by_place: dict[Path, str] = {}
    for folder in folders:
        by_place.setdefault(Path(folder).resolve(), folder)
    return list(by_place.values())


def pictures_of(folder: str) -> str | None:
    """A hash of all pictures that the data set holds now; ``None`` where there is none any more.

    It changes where the data set was made again with other settings, grew, or had failed images made again.
    """
    if not (Path(folder) / FILE).is_file():
        return None
    other = open_dataset(Path(folder))
    tars = {shard.name: read_marker(shard).sha256 for shard in other.shards()}
    return fingerprint({"settings": other.fingerprint, "tars": tars})


def _shared_seeds(config: StudyConfig, other: ShardDataset) -> frozenset[int]:
    return frozenset(config.seed_list) & frozenset(other.settings["seeds"])


def unseen_prompts(dataset: ShardDataset, other: ShardDataset) -> list[int]:
    """prompt_ids of the other data set whose text is in neither ``train`` nor ``val`` of this one, ascending."""
    seen = {prompt.text.strip().lower() for prompt in dataset.prompts.values() if prompt.split in ("train", "val")}
    return sorted(prompt_id for prompt_id, prompt in other.prompts.items() if prompt.text.strip().lower() not in seen)


def transfer(context: Context, folder: str) -> dict[str, Any]:
    """Accuracy on another data set's pictures with its interval and chance; what differs, and whether the noise does.

    Args:
        context: the study.
        folder: of the other data set.

    Raises:
        UserError: as in :func:`check_transfer`, or a shard is damaged.

    """
    other = open_dataset(Path(folder))
    seeds = _shared_seeds(context.config, other)
    prompts = some_prompts(unseen_prompts(context.dataset, other), len(seeds), MOST_IMAGES)
    shards = other.shards()
    right, count = recognised(
        context.classifier, chosen_samples(shards, prompts, seeds), len(prompts) * len(seeds), [UNTOUCHED],
        context.image_size, context.threads,
    )  # fmt: skip
    if not count:
        raise UserError(f"{folder} of classifier.transfer has no image of prompts unseen in training",
                        remedy="finish it with `seedml generate`, or take another data set")  # fmt: skip
    own = recorded_noise(context.shards("train"), seeds)
    theirs = recorded_noise(shards, seeds)
    same = sum(own.get(seed) == digest for seed, digest in theirs.items())
    model, steps = other.settings["model"]["name"], other.model.get("steps")
    return {
        **exact_share(right[UNTOUCHED.name], count, context.confidence), "chance": context.chance,
        "folder": folder, "fingerprint": other.fingerprint, "model": model, "steps": steps,
        "seeds": len(seeds), "seeds_of_same_noise": same, "prompts": len(prompts),
        "differs": differing_keys(context.dataset.settings, other.settings),
        "description": f"pictures of {folder}: {model}, {steps} steps",
    }  # fmt: skip
