"""The seeds of a study as text and as numbers: ``0:64``, ``[3, 7, 469]``, or both joined by commas.

Knows nothing of noise. A seed is an integer 0 … 2^63-1; it is refused outside, never folded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

from seedml.errors import UserError

MAX_SEED = 2**63 - 1
MAX_SEEDS = 1_000_000
"""More seeds than this in one study are a typing error (``0:64000000``); the list is held in memory."""

LEGAL = "seeds 0 to 9223372036854775807, such as 0:64 (0 to 63), [3,7,469] or '0:64,469'"
_PART = re.compile(r"(-?\d{1,40})(?::(-?\d{1,40}))?")
_CPU_SEED_BITS = 32


def check_seed(seed: object, key: str = "seed") -> int:
    """``seed`` itself where it is an integer 0 … 2^63-1.

    Raises:
        UserError: it is no integer (``True`` and ``3.0`` are none), or out of range.

    """
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise UserError(f"{key} holds no legal seed", given=seed, legal=LEGAL, remedy="take a seed in that range")
    return seed


def parse_seeds(given: object, key: str = "seeds") -> tuple[int, ...]:
    """The seeds that ``given`` names, ascending; ``a:b`` is a, a+1, …, b-1.

    Args:
        given: text such as ``'0:64'`` or ``'0:4,[10,12]'``, an integer, or a list of these.
        key: the configuration key to name in an error.

    Raises:
        UserError: not readable, out of range, given twice, empty, or over a million seeds.

    """
    parts = given if isinstance(given, Sequence) and not isinstance(given, str | bytes) else [given]
    ranges = [span for part in parts for span in _ranges(part, key)]
    count = sum(len(span) for span in ranges)
    if not count:
        raise UserError(f"{key} names no seed", given=given, legal=LEGAL, remedy="name at least one seed")
    if count > MAX_SEEDS:
        raise UserError(f"{key} names {count} seeds", given=given, legal=f"at most {MAX_SEEDS} seeds in one study",
                        remedy="split the study by seeds")  # fmt: skip
    seeds = sorted(seed for span in ranges for seed in span)
    twice = next((seed for seed, after in pairwise(seeds) if seed == after), None)
    if twice is not None:
        raise UserError(f"{key} names seed {twice} twice", given=given, legal="every seed once",
                        remedy=f"leave one {twice} out")  # fmt: skip
    return tuple(seeds)


def _ranges(part: object, key: str) -> list[range]:
    """One item of a seed list, as ranges."""
    if not isinstance(part, str):
        seed = check_seed(part, key)
        return [range(seed, seed + 1)]
    words = [word.strip() for word in part.replace("[", " ").replace("]", " ").split(",")]
    return [_range(word, key, part) for word in words if word or len(words) == 1]


def _range(word: str, key: str, given: str) -> range:
    match = _PART.fullmatch(word)
    if match is None:
        raise UserError(
            f"{key} cannot be read at {word!r}", given=given, legal=LEGAL, remedy="write it in one of these ways"
        )
    start = int(match[1])
    stop = int(match[2]) if match[2] is not None else start + 1
    if not (0 <= start <= MAX_SEED and 0 <= stop <= MAX_SEED + 1):
        raise UserError(f"{key} holds a seed out of range at {word!r}", given=given, legal=LEGAL,
                        remedy="take seeds in that range")  # fmt: skip
    if stop <= start:
        raise UserError(f"{key} holds the empty range {word!r}", given=given, legal=LEGAL,
                        remedy="a:b needs a < b")  # fmt: skip
    return range(start, stop)


def format_seeds(seeds: Iterable[int]) -> str:
    """The shortest text that :func:`parse_seeds` reads back: ``(0, 1, 2, 9)`` becomes ``'0:3,9'``."""
    spans: list[list[int]] = []
    for seed in sorted(seeds):
        if spans and seed == spans[-1][1]:
            spans[-1][1] += 1
        else:
            spans.append([seed, seed + 1])
    return ",".join(f"{start}" if stop == start + 1 else f"{start}:{stop}" for start, stop in spans)


def check_distinct_noise(seeds: Sequence[int], key: str = "seeds") -> None:
    """Refuse seeds that torch's CPU generator cannot tell apart.

    That generator (Mersenne Twister, seeded through 32 bits) gives seed ``s`` and seed ``s + 2**32`` the same noise.

    Raises:
        UserError: two of ``seeds`` agree in their lowest 32 bits.

    """
    seen: dict[int, int] = {}
    for seed in seeds:
        low_bits = seed % 2**_CPU_SEED_BITS
        if low_bits in seen:
            raise UserError(
                f"{key} holds {seen[low_bits]} and {seed}, whose noise is the same: torch's CPU generator reads"
                " only the lowest 32 bits of a seed",
                legal="seeds that differ modulo 2^32",
                remedy=f"leave one of them out, for example {seed}",
            )
        seen[low_bits] = seed
