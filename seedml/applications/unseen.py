"""Prompts that had no part in choosing seeds: the study's test split, then prompts of its set that it never used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from seedml.config import PromptsConfig
from seedml.errors import UserError
from seedml.prompts import Prompt, load_prompts

UNUSED = "unused"
"""Split of a prompt that the study has no image of."""


def unseen_prompts(config: PromptsConfig, used: Mapping[int, Prompt], count: int) -> list[Prompt]:
    """At most ``count`` prompts, by ``prompt_id``.

    Those of the test split first: their images are there already. Unused ones follow in an order that each prompt's own
    text decides, so that a set sorted by topic is not cut off in the middle of it.

    Args:
        config: the study's prompt set.
        used: the study's prompts: ``prompt_id`` -> prompt.
        count: how many are wanted.

    Raises:
        UserError: there are fewer than two.

    """
    test = [prompt for prompt in used.values() if prompt.split == "test"]
    whole = load_prompts(replace(config, limit=None, sample=None, splits={"test": 1.0}))
    texts = {prompt.text for prompt in used.values()}
    unused = [p._replace(split=UNUSED) for p in whole if p.prompt_id not in used and p.text not in texts]
    found = [*sorted(test, key=_order), *sorted(unused, key=_order)][:count]
    if len(found) < 2:
        raise UserError(
            "applications need prompts that had no part in choosing seeds", given=len(found), legal="two or more",
            remedy="give prompts.splits.test a share, or lower prompts.limit so that some prompts stay unused",
        )  # fmt: skip
    return sorted(found, key=lambda prompt: prompt.prompt_id)


def _order(prompt: Prompt) -> bytes:
    return hashlib.sha256(f"unseen:{prompt.text}".encode()).digest()
