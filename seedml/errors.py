"""Mistakes a user can make and mend. The command line prints them as one line and exits with status 2."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(ValueError):
    """A mistake of the user's: what is wrong, the value given, the legal values and the remedy, in one line.

    Args:
        what: what is wrong, naming the key or the file.
        given: the value found; shown with ``repr``. Left out where there is none.
        legal: the legal values in words.
        remedy: what to do about it.

    """

    def __init__(self, what: str, *, given: object = None, legal: str | None = None, remedy: str | None = None) -> None:
        parts = [what]
        if given is not None:
            parts.append(f"given: {given!r}")
        if legal:
            parts.append(f"legal: {legal}")
        if remedy:
            parts.append(f"remedy: {remedy}")
        super().__init__(" ".join("; ".join(parts).split()))


def unknown_name(kind: str, given: str, known: Iterable[str]) -> UserError:
    """The error for a name that is not among ``known``, with the nearest match."""
    names = sorted(known)
    nearest = get_close_matches(given, names, n=1, cutoff=0.4)
    remedy = f"did you mean {nearest[0]!r}?" if nearest else "take one of the names listed"
    return UserError(f"unknown {kind}", given=given, legal=", ".join(names), remedy=remedy)
