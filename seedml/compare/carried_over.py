"""What a comparison says of each study's seed book: how far it carries over to the other studies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seedml.errors import UserError
from seedml.per_seed.intervals import Interval
from seedml.seedbook import FILE, Figure, SeedBook, Transfer

if TYPE_CHECKING:
    from seedml.compare.pairs import Gain, PairComparison
    from seedml.compare.runs import StudiedRun
    from seedml.compare.step import Comparison
    from seedml.per_seed.transfer import Correlation
    from seedml.per_seed.transfer import Transfer as Order

_OF_MODEL = ("latent_shape", "height", "width", "scheduler", "steps", "guidance_scale", "dtype")


def made_with(study: StudiedRun) -> dict[str, Any]:
    """How a study's pictures were made, as far as its folder says: from its book, else from shards and settings."""
    try:
        return SeedBook.read(study.run.seedbook or {}).made_with()
    except UserError:  # none, or not whole
        settings = study.run.settings
        used = {**(settings.get("sampler") or {}), **study.run.model}
        found = {"model": (settings.get("model") or {}).get("name"), **{key: used.get(key) for key in _OF_MODEL},
                 "generator_device": (settings.get("noise") or {}).get("generator_device")}  # fmt: skip
        return {key: value for key, value in found.items() if value is not None}


def transfers(found: Comparison) -> dict[str, dict[str, Transfer]]:
    """Study -> other study -> what that one says of its seeds."""
    made = [made_with(study) for study in found.studies]
    told: dict[str, dict[str, Transfer]] = {study.name: {} for study in found.studies}
    for (one, two), order in found.orders.items():
        if not np.isfinite(order.spearman.value):
            continue  # all seeds of one study are alike
        pair = found.pairs[two - 1] if one == 0 else None
        for chooser, judge in ((one, two), (two, one)):
            gain = None if pair is None else pair.gains[0 if chooser == one else 1]
            told[found.studies[chooser].name][found.studies[judge].name] = _transfer(order, pair, gain, made[judge])
    return told


def _transfer(order: Order, pair: PairComparison | None, gain: Gain | None, made: Mapping[str, Any]) -> Transfer:
    attributes = () if pair is None else pair.attributes
    return Transfer(
        made_with=made, same_noise=order.same_noise, same_prompts=None if pair is None else pair.common.paired,
        order=_of_correlation(order.spearman, len(order.seeds)),
        gain=None if gain is None else _of_interval(gain.gain, gain.prompts),
        chance=None if gain is None else _of_interval(gain.chance, gain.prompts),
        attributes={one.column: _of_correlation(one.order.spearman, len(one.order.seeds))
                    for one in attributes if one.order is not None and np.isfinite(one.order.spearman.value)},
    )  # fmt: skip


def _of_correlation(found: Correlation, n: int) -> Figure:
    return Figure(float(found.value), _finite(found.low), _finite(found.high), n)


def _of_interval(found: Interval, n: int) -> Figure:
    return Figure(float(found.value), _finite(float(found.low)), _finite(float(found.high)), n)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def books_of(studies: Sequence[StudiedRun]) -> dict[str, SeedBook]:
    """Study -> its seed book, for all that are to be added to.

    Raises:
        UserError: a study has none, or one that was changed.

    """
    return {study.name: SeedBook.load(study.folder / FILE) for study in studies}


def add_to_books(books: Mapping[str, SeedBook], told: Mapping[str, Mapping[str, Transfer]]) -> None:
    """Write what was found into the books; what they knew of the same studies is replaced."""
    for study, book in books.items():
        assert book.folder is not None, "read from a file"
        book.with_transfers(told[study]).save(book.folder / FILE)
