"""What a model's text encoders do not read of a prompt."""

from __future__ import annotations

from typing import Any

from seedml.errors import UserError


def check_prompt(prompt: str) -> str:
    """The prompt without blanks around it.

    Raises:
        UserError: nothing is left.

    """
    if not prompt.strip():
        raise UserError("the prompt is empty", given=prompt, legal="a text such as 'a red mug on grass'",
                        remedy="write the prompt in quotes after the book")  # fmt: skip
    return prompt.strip()


def cut_off(pipeline: Any, prompt: str) -> str:
    """The end of the prompt that one of the pipeline's text encoders has no room for; empty where all is read."""
    tokenizers = [getattr(pipeline, name, None) for name in ("tokenizer", "tokenizer_2")]
    ends = [_end_beyond(tokenizer, prompt) for tokenizer in tokenizers if tokenizer is not None]
    return max(ends, key=len, default="")


def _end_beyond(tokenizer: Any, prompt: str) -> str:
    """What of ``prompt`` is left out when its tokens are cut to the tokenizer's length, the last of them the end."""
    ids = tokenizer(prompt, truncation=False, verbose=False).input_ids
    room = tokenizer.model_max_length - 1
    if len(ids) <= room + 1:
        return ""
    if not tokenizer.is_fast:  # knows no places in the text
        return str(tokenizer.decode(ids[room:-1]))
    places = tokenizer(prompt, truncation=False, verbose=False, return_offsets_mapping=True)["offset_mapping"]
    return prompt[places[room][0] :]
