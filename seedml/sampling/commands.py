"""The commands on seed books: ``seedml sample``, ``seedml export``, ``seedml verify <book>``."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seedml.errors import UserError, unknown_name
from seedml.files import fingerprint
from seedml.sampling.choice import Choice, beside, read_words
from seedml.sampling.exports import FORMS, write_exports
from seedml.seed_list import format_seeds
from seedml.seedbook import FILE, Cards, SeedBook

_CHOICE: dict[str, type] = {"n": int, "by": str, "where": str, "seeds": str, "draw": int}
_SAMPLE = _CHOICE | {"compare": str, "out": str}
_EXPORT = _CHOICE | {"prompt": str, "to": str, "out": str}
_PROMPT = "a red mug on grass"


@dataclass(frozen=True)
class _Wish:
    """A command on a book, read."""

    book: SeedBook
    choice: Choice
    values: dict[str, Any]
    """Of the command's other keys."""
    rest: list[str]
    """Words with other keys."""


def _read(command: str, words: Sequence[str], keys: dict[str, type]) -> _Wish:
    book = SeedBook.load(_book_word(command, words))
    values, rest = read_words(words[1:], keys)
    choice = Choice(**{name: values.pop(name) for name in list(values) if name in _CHOICE})
    return _Wish(book, choice, values, rest)


def _book_word(command: str, words: Sequence[str]) -> str:
    if not words or "=" in words[0]:
        raise UserError(f"{command} is given no seed book", given=words[0] if words else None,
                        legal=f"a {FILE}, or the folder of a run that has one",
                        remedy=f"write seedml {command} runs/quickstart …")  # fmt: skip
    return words[0]


def sample(words: Sequence[str]) -> None:
    """``<book> "prompt" [key=value …]``: pictures of chosen seeds in a folder, with a sheet and a JSON.

    Raises:
        UserError: no book, no prompt, an unknown key, seeds that are not there, a folder that holds something else.

    """
    book_word = _book_word("sample", words)
    prompt = _prompt_of(words[1:])
    wish = _read("sample", [book_word, *words[2:]], _SAMPLE)
    groups = _groups(wish)
    from seedml.sampling.pictures import RECORD, check_folder, request_of
    from seedml.sampling.pictures import sample as make
    from seedml.sampling.prompt_text import check_prompt
    from seedml.sampling.settings import settings_of

    config = settings_of(wish.book, wish.rest)
    if config.trainer.threads is not None:
        import torch

        torch.set_num_threads(config.trainer.threads)
    request = request_of(check_prompt(prompt), groups, config)
    folder = Path(wish.values.get("out") or _default_folder(wish.book, request))
    if check_folder(folder, request):
        print(f"these pictures are there already: {folder}")
        return
    made = make(wish.book, prompt, groups, config)
    for note in made.notes:
        print(f"seedml: warning: {note}", file=sys.stderr)
    made.save(folder)
    for name, cards in groups.items():
        print(f"{name} seeds: {', '.join(map(str, cards.seeds))}")
    print(f"pictures, contact sheet and {RECORD}: {folder}")


def _prompt_of(words: Sequence[str]) -> str:
    """The word after the book, unless it is one of the keys."""
    given = words[0] if words else None
    if given is None or re.match(r"(n|by|where|seeds|draw|compare|out|(model|sampler|noise|trainer)[.\w]*)=", given):
        raise UserError("sample is given no prompt", given=given, legal="a text after the book",
                        remedy=f'write seedml sample runs/quickstart "{_PROMPT}" n=4')  # fmt: skip
    return given


def _groups(wish: _Wish) -> dict[str, Cards]:
    """Name -> the chosen seeds and, where asked for, others beside them."""
    chosen = wish.choice.of(wish.book)
    compare = wish.values.get("compare")
    if compare is None:
        return {wish.choice.name: chosen}
    if compare == wish.choice.name:
        raise UserError("compare names the seeds that are chosen", given=f"compare={compare}",
                        remedy="compare with others, such as compare=random")  # fmt: skip
    return {wish.choice.name: chosen, compare: beside(wish.book, chosen, compare, wish.choice.draw)}


def _default_folder(book: SeedBook, request: dict[str, Any]) -> Path:
    """Beside the book, one folder for everything that decides the pictures."""
    assert book.folder is not None, "read from a file"
    words = re.sub(r"[^a-z0-9]+", "-", str(request["prompt"]).lower()).strip("-")[:40].strip("-")
    return book.folder / "samples" / f"{words or 'prompt'}-{fingerprint(request)[:8]}"


def export(words: Sequence[str]) -> None:
    """``<book> [key=value …]``: seeds as a program for diffusers, as a comma list, as noise.

    Raises:
        UserError: no book, an unknown key or form, seeds that are not there, a file with other content.

    """
    wish = _read("export", words, _EXPORT)
    if wish.rest:
        raise unknown_name("key of export", wish.rest[0].partition("=")[0], _EXPORT)
    forms = [form.strip() for form in str(wish.values.get("to") or ",".join(FORMS)).strip("[]").split(",")]
    for form in forms:
        if form not in FORMS:
            raise unknown_name("form in to=", form, FORMS)
    cards = wish.choice.of(wish.book)
    assert wish.book.folder is not None, "read from a file"
    folder = Path(wish.values.get("out") or wish.book.folder / "export")
    name = wish.choice.name
    for path in write_exports(wish.book, cards, name, wish.values.get("prompt") or _PROMPT, folder, forms):
        print(path)
    print(f"{name} seeds: {', '.join(map(str, cards.seeds))}")


def verify(words: Sequence[str]) -> None:
    """``<book>``: remake each noise and compare its hash; the book's own hash was compared when it was read.

    Raises:
        UserError: a noise is another one here; says which of generator device, shape, dtype or library differs.

    """
    from seedml.sampling.noise_check import mismatches

    if len(words) > 1:
        raise UserError("a seed book is verified without settings", given=words[1],
                        remedy="write seedml verify runs/quickstart/seedbook.json")  # fmt: skip
    book = SeedBook.load(_book_word("verify", words))
    by_reason: dict[str, list[int]] = {}
    for seed, reason in mismatches(book):
        by_reason.setdefault(reason, []).append(seed)
    for reason, seeds in by_reason.items():
        print(f"{'seed' if len(seeds) == 1 else 'seeds'} {format_seeds(seeds)}: {reason}")
    wrong, card = sum(map(len, by_reason.values())), book.cards[0]
    shape = " × ".join(map(str, card.latent_shape))
    print(f"{book.name}: {len(book.cards) - wrong} of {len(book.cards)} noises are those of their cards"
          f" ({shape} float32, drawn on {card.generator_device})")  # fmt: skip
    if wrong:
        raise UserError(f"{wrong} of {len(book.cards)} noises are not those of their cards, listed above",
                        remedy="do not use these seeds here, or use the book where it was made")  # fmt: skip
