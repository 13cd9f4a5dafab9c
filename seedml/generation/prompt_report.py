"""What is to be said of a study's prompts before its hours: repetitions left out, and what text encoders do not read.

Reads the model's tokenizers where they are on this machine; loads no weights and downloads nothing. Knows of an encoder
only how many tokens its tokenizer allows; a pipeline may hand on fewer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedml.errors import UserError
from seedml.files import read_json
from seedml.models.folder import INDEX, find_model
from seedml.models.quiet import quiet_libraries
from seedml.prompts import Prompt, read_prompts

if TYPE_CHECKING:
    from seedml.config import StudyConfig

_UNLIMITED = 1_000_000
"""Tokenizers that know no limit say so by a far larger number."""


@dataclass(frozen=True)
class Encoder:
    """How one of the model's text encoders gets on with the prompts."""

    tokenizer: str
    """The pipeline's component, such as ``tokenizer_2``."""
    room: int
    """Tokens that it reads, its own beginning and end among them."""
    too_long: tuple[int, ...]
    """``prompt_id`` of the prompts of which it reads only the beginning, ascending."""


@dataclass(frozen=True)
class PromptReport:
    """What is to be said of the prompts."""

    repeated: int
    """Prompts that were left out because their text was there already."""
    encoders: tuple[Encoder, ...] | None
    """``None`` where the model is not on this machine."""

    @property
    def too_long(self) -> int:
        """Prompts that one of the encoders reads only the beginning of."""
        return len({prompt_id for encoder in self.encoders or () for prompt_id in encoder.too_long})

    def lines(self) -> list[str]:
        """For people; nothing where there is nothing to say."""
        lines = [f"repetitions left out: {self.repeated:,}"] if self.repeated else []
        return lines + [
            f"longer than the {encoder.room} tokens that {encoder.tokenizer} reads, so that it cuts them: "
            f"{len(encoder.too_long):,} (prompt {', '.join(map(str, encoder.too_long[:3]))}"
            f"{' …' if len(encoder.too_long) > 3 else ''})"
            for encoder in self.encoders or ()
            if encoder.too_long
        ]


def report_on_prompts(config: StudyConfig, prompts: Sequence[Prompt]) -> PromptReport:
    """The report on a study's prompts.

    Args:
        config: the study.
        prompts: those that it uses.

    Raises:
        UserError: the prompt set cannot be read.

    """
    return PromptReport(read_prompts(config.prompts).repeated, _encoders(config, prompts))


def _encoders(config: StudyConfig, prompts: Sequence[Prompt]) -> tuple[Encoder, ...] | None:
    try:
        folder = find_model(config.model, download=False)
    except UserError:
        return None
    if not (folder / INDEX).is_file():
        return None  # weights in a single file bring no tokenizer
    found = [_encoder(folder, name, prompts) for name in tokenizer_names(read_json(folder / INDEX))]
    return tuple(encoder for encoder in found if encoder is not None)


def tokenizer_names(index: Mapping[str, object]) -> list[str]:
    """The tokenizers among a pipeline's components."""
    return sorted(name for name, value in index.items() if name.startswith("tokenizer") and _is_there(value))


def _is_there(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and None not in value


def _encoder(folder: Path, name: str, prompts: Sequence[Prompt]) -> Encoder | None:
    """How many prompts a tokenizer cuts; ``None`` where it cuts none ever."""
    tokenizer = _tokenizer(folder, name)
    room = int(min(tokenizer.model_max_length, _UNLIMITED))
    if room == _UNLIMITED:
        return None
    tokens = tokenizer([prompt.text for prompt in prompts], truncation=False, verbose=False).input_ids
    long = sorted(prompt.prompt_id for prompt, ids in zip(prompts, tokens, strict=True) if len(ids) > room)
    return Encoder(name, room, tuple(long))


def _tokenizer(folder: Path, name: str) -> Any:
    import transformers

    entry = read_json(folder / INDEX)[name]
    assert isinstance(entry, list), f"{folder / INDEX}: {name} names no class"
    loader: Any = getattr(transformers, str(entry[1]), transformers.AutoTokenizer)
    try:
        with quiet_libraries():
            return loader.from_pretrained(folder / name, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise UserError(
            f"the model's {name} cannot be loaded ({str(error).strip().splitlines()[0]})", given=str(folder / name),
            remedy="download the model again",
        ) from error  # fmt: skip
