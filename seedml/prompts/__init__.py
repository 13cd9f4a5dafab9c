"""Prompt sets: what is bundled, what others published and files of one's own, with their splits. Knows no image.

``files`` reads, ``objects`` holds a bundled set; here prompts are chosen and divided. Which prompts are taken and which
split each gets follows from their own texts, never from the order of a file. Knows no text encoder: what is too long
for one is told by ``generation.prompt_report``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from seedml.captions import scene_prompts
from seedml.config import PromptsConfig
from seedml.errors import UserError
from seedml.prompts.files import MissingFileError as MissingFileError
from seedml.prompts.files import read_coco, read_lines
from seedml.prompts.objects import object_prompts

COLUMNS: Mapping[str, tuple[str, ...]] = {"parti": ("Prompt",), "drawbench": ("Prompts", "Prompt")}
"""Published set -> the names of its column of prompts."""
SOURCES: Mapping[str, str] = {
    "coco": "curl -LO http://images.cocodataset.org/annotations/annotations_trainval2014.zip && unzip "
    "annotations_trainval2014.zip -d data/coco, then prompts.file=data/coco/annotations/captions_val2014.json",
    "parti": "curl -LO https://raw.githubusercontent.com/google-research/parti/main/PartiPrompts.tsv, then "
    "prompts.file=PartiPrompts.tsv",
    "drawbench": "save DrawBench (linked from https://imagen.research.google) as CSV, then prompts.file=<that file>",
}
"""Published set -> how to get its file. Nothing is downloaded by itself."""


class Prompt(NamedTuple):
    """A prompt of a study."""

    prompt_id: int
    """Its place in the prompt set, from 0: the line of a text file, the row of a table; in COCO the caption's id."""
    text: str
    split: str
    """``train``, ``val`` or ``test``."""


@dataclass(frozen=True)
class PromptSet:
    """Prompts before they are divided."""

    source: str
    """For people."""
    texts: Mapping[int, str]
    """``prompt_id`` -> text, ascending; every text once."""
    repeated: int
    """Further ones that were left out because their text was there already."""


def load_prompts(config: PromptsConfig) -> list[Prompt]:
    """The study's prompts with their splits, sorted by ``prompt_id``; prompts that no split takes are left out.

    Raises:
        MissingFileError: there is no such file.
        UserError: the file is unreadable, empty or repeats a prompt, or the splits need more prompts than there are.

    """
    texts = _chosen(config, read_prompts(config).texts)
    splits = _assign(texts, _counts(config.splits, len(texts)))
    return [Prompt(prompt_id, texts[prompt_id], splits[prompt_id]) for prompt_id in sorted(splits)]


def read_prompts(config: PromptsConfig) -> PromptSet:
    """The whole prompt set, before ``sample`` and ``limit``; blank entries are skipped and keep their number.

    Raises:
        MissingFileError: there is no such file.
        UserError: it is unreadable, empty, or repeats a prompt where that is refused.

    """
    path = None if config.file is None else Path(config.file).expanduser()
    source = str(config.set if path is None else path)
    lines = _bundled(str(config.set)) if path is None else _lines(config, path)
    texts = {prompt_id: text for prompt_id, line in lines.items() if (text := line.strip())}
    if not texts:
        raise UserError(f"prompts.file {path} holds no prompt", given=config.file, legal="at least one prompt",
                        remedy="write prompts into it, one a line, or name another file")  # fmt: skip
    once = _without_repetition(texts)
    repeated = len(texts) - len(once)
    if repeated and (config.duplicates or _usual(config)) == "refuse":
        _refuse_repetition(texts, source)
    return PromptSet(source, once, repeated)


def placeholder_prompts(config: PromptsConfig) -> list[Prompt] | None:
    """As many prompts as the splits name, for a plan where the file is elsewhere; ``None`` where splits are shares."""
    if not all(isinstance(value, int) for value in config.splits.values()):
        return None
    splits = [name for name, count in config.splits.items() for _ in range(count)]
    return [Prompt(number, f"prompt {number}", split) for number, split in enumerate(splits)]


def _bundled(name: str) -> dict[int, str]:
    return dict(enumerate(object_prompts() if name == "objects" else scene_prompts()))


def _lines(config: PromptsConfig, path: Path) -> dict[int, str]:
    """``prompt_id`` -> entry of the file, ascending."""
    remedy = SOURCES[config.set] if config.set else "check the path"
    if config.set == "coco" and path.suffix.lower() != ".json":
        raise UserError("prompts.set=coco reads COCO's own files", given=str(path), legal="captions_….json",
                        remedy="for a file of your own say prompts.set=null as well")  # fmt: skip
    columns = (config.column,) if config.column else COLUMNS.get(str(config.set), ())
    try:
        if config.set == "coco":
            return dict(sorted(read_coco(path, config.captions_per_image, remedy).items()))
        return dict(enumerate(read_lines(path, columns)))
    except MissingFileError as error:
        if config.set is None:
            raise
        raise MissingFileError(
            "prompts.file does not exist", given=str(path), legal=f"the file of prompts.set={config.set}", remedy=remedy
        ) from error


def _usual(config: PromptsConfig) -> str:
    """A repetition in a file of one's own is a mistake; COCO has the same caption for many images."""
    return "drop" if config.set else "refuse"


def _without_repetition(texts: Mapping[int, str]) -> dict[int, str]:
    """Every text once, under its first number."""
    first: dict[str, int] = {}
    for prompt_id, text in texts.items():
        first.setdefault(text, prompt_id)
    return {prompt_id: text for text, prompt_id in first.items()}


def _refuse_repetition(texts: Mapping[int, str], source: str) -> None:
    """A prompt that is there twice could be in the train and in the test split."""
    first: dict[str, int] = {}
    for prompt_id, text in texts.items():
        if text in first:
            raise UserError(f"prompts.file {source} holds a prompt twice, as prompts {first[text]} and {prompt_id}",
                            given=text, legal="every prompt once",
                            remedy="leave the repetitions out, or set prompts.duplicates=drop")  # fmt: skip
        first[text] = prompt_id


def _chosen(config: PromptsConfig, texts: Mapping[int, str]) -> dict[int, str]:
    """``sample`` and then ``limit``, by ascending number. A smaller sample is part of a larger one of the same seed."""
    chosen = dict(texts)
    if config.sample is not None:
        if config.sample > len(texts):
            raise UserError("prompts.sample is larger than the prompt set", given=config.sample,
                            legal=f"at most {len(texts)}", remedy="lower it, or give more prompts")  # fmt: skip
        order = sorted(texts, key=lambda prompt_id: _place(f"sample {config.sample_seed}", texts[prompt_id]))
        chosen = {prompt_id: texts[prompt_id] for prompt_id in sorted(order[: config.sample])}
    return dict(list(chosen.items())[: config.limit])


def _place(purpose: str, text: str) -> bytes:
    """A prompt's place in a fixed random order that follows from its own text."""
    return hashlib.sha256(f"{purpose}:{text}".encode()).digest()


def _counts(splits: Mapping[str, float], available: int) -> dict[str, int]:
    """Prompts in each split; shares are rounded by largest remainder, so a whole set leaves no prompt over."""
    counts = {name: int(value) for name, value in splits.items()}
    if any(isinstance(value, float) for value in splits.values()):
        exact = {name: value * available for name, value in splits.items()}
        counts = {name: int(value + 1e-9) for name, value in exact.items()}
        left = int(sum(exact.values()) + 1e-9) - sum(counts.values())
        by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])  # sorted() keeps ties in order
        counts |= {name: counts[name] + 1 for name in by_remainder[:left]}
    empty = [name for name, count in counts.items() if count == 0]
    if sum(counts.values()) > available or empty:
        wanted = ", ".join(f"{name} {value}" for name, value in splits.items())
        lacking = f"; none is left for {', '.join(empty)}" if empty else ""
        raise UserError(
            f"prompts.splits needs more prompts than the {available} there are (prompts.limit counts){lacking}",
            given=wanted,
            legal="at least one prompt in every split named, together at most all prompts",
            remedy="give more prompts, raise prompts.limit, or lower prompts.splits",
        )
    return counts


def _assign(texts: Mapping[int, str], counts: Mapping[str, int]) -> dict[int, str]:
    """Splits by a fixed permutation that follows from each prompt's own text: reordering a file changes no split."""
    order = sorted(texts, key=lambda prompt_id: _place("split", texts[prompt_id]))
    splits: dict[int, str] = {}
    start = 0
    for name, count in counts.items():
        splits |= dict.fromkeys(order[start : start + count], name)
        start += count
    return splits
