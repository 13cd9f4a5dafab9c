"""What the page is made of: everything a run folder holds, read once, with ``None`` for steps that did not run yet.

Knows the files' formats and nothing of how they are shown.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from seedml.config import StudyConfig, resolved
from seedml.files import read_json
from seedml.report.numbers import Estimate, estimate, finite
from seedml.report.vocabulary import order
from seedml.summary import read_summary
from seedml.tracking import without_secrets

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray

VERDICTS = ("golden", "inconclusive", "inferior")
_HIDDEN_SETTINGS = frozenset({"tracking", "dry_run", "image"})  # no use to a reader; the first holds accounts


@dataclass(frozen=True)
class SeedRow:
    """One seed: its statistics, and what was decided about it.

    Attributes:
        seed: the seed.
        n: images its statistics rest on.
        fid: Fréchet distance with interval, lower is better.
        rank: 1 for the lowest FID.
        verdict: one of ``VERDICTS``.
        tags: words from the seed card.
        values: attribute column -> mean or share with interval.
        q_values: ``fid`` or attribute column -> q-value of "this seed is like the average seed".
        accuracy: how often the classifier recognised this seed on held-out prompts.

    """

    seed: int
    n: int | None
    fid: Estimate | None
    rank: int | None
    verdict: str
    tags: tuple[str, ...] = ()
    values: Mapping[str, Estimate] = field(default_factory=dict)
    q_values: Mapping[str, float] = field(default_factory=dict)
    accuracy: float | None = None


@dataclass(frozen=True)
class Attribute:
    """One measured column: its name, and whether it is 0/1 so that a seed has a share of it."""

    column: str
    share: bool


@dataclass(frozen=True)
class Run:
    """A study's results, as far as they exist.

    Attributes:
        name: the study's name.
        shard_dir: where the images are.
        settings: the resolved configuration, without tracking.
        summary: ``summary.json``; empty when no step wrote it.
        seeds: one row per seed in ``seeds.parquet``, sorted by seed.
        attributes: the attribute columns of ``seeds.parquet`` in reading order.
        images: ``images.parquet``.
        seedbook: ``seedbook.json``.
        classifier: ``classifier/metrics.json``.
        feature_notes: what ``features.safetensors`` says about the network.
        reference_notes: what ``reference.safetensors`` says about the reference.
        model: what the model said of itself when the images were made (``dataset.json``): size, scheduler, steps …
        places: ``seed_map.parquet``: clusters of seeds and their places on maps.
        examples: seed and attribute column -> prompt_ids of the most typical and the most extreme picture.
        attention: the arrays of ``classifier/grad_cam.safetensors``: where the classifier looks.
        applications: name -> ``applications/<name>.json``.
        application_sheets: name -> the sheet of pictures beside it.

    """

    name: str
    shard_dir: Path
    settings: Mapping[str, Any]
    summary: Mapping[str, Any]
    seeds: tuple[SeedRow, ...]
    attributes: tuple[Attribute, ...]
    images: pd.DataFrame | None
    seedbook: Mapping[str, Any] | None
    classifier: Mapping[str, Any] | None
    feature_notes: Mapping[str, str]
    reference_notes: Mapping[str, str]
    model: Mapping[str, Any]
    places: pd.DataFrame | None = None
    examples: Mapping[tuple[int, str], tuple[int, int]] = field(default_factory=dict)
    attention: Mapping[str, NDArray[Any]] | None = None
    applications: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    application_sheets: Mapping[str, Path] = field(default_factory=dict)

    def chosen(self, kind: str) -> tuple[int, ...]:
        """The seeds that selection listed as ``golden``, ``inferior`` or ``diverse``; empty before selection."""
        return tuple(int(seed) for seed in (self.seedbook or {}).get(kind, ()))

    def figure(self, key: str) -> Estimate | None:
        """A headline number of ``summary.json``."""
        return estimate(self.summary.get(key))

    def row(self, seed: int) -> SeedRow | None:
        """The row of ``seed``."""
        return self._by_seed.get(seed)

    @cached_property
    def _by_seed(self) -> dict[int, SeedRow]:
        return {row.seed: row for row in self.seeds}

    @property
    def level(self) -> float:
        """The coverage of the intervals, 0..1."""
        return finite(self.settings.get("statistics", {}).get("confidence")) or 0.95

    @property
    def confidence(self) -> str:
        """The coverage of the intervals, as ``95 %``."""
        return f"{100 * self.level:g}\u202f%"

    def differs(self, row: SeedRow, column: str) -> bool:
        """Whether a seed differs from the average seed in ``column`` beyond doubt, all seeds being tested together."""
        return row.q_values.get(column, 1.0) <= 1 - self.level + 1e-9


def collect(config: StudyConfig) -> Run:
    """Read what ``config``'s run folder holds.

    Raises:
        UserError: a file is there but cannot be read.

    """
    settings = {key: value for key, value in resolved(config).items() if key not in _HIDDEN_SETTINGS}
    settings = without_secrets(settings, os.environ)
    return read_run(config.run_dir, config.shard_dir, config.name, settings)


def read_run(run_dir: Path, shard_dir: Path, name: str, settings: Mapping[str, Any]) -> Run:
    """:func:`collect` for given folders."""
    seedbook = _json_if_there(run_dir / "seedbook.json")
    classifier = _json_if_there(run_dir / "classifier" / "metrics.json")
    table = _table_if_there(run_dir / "seeds.parquet")
    attributes = () if table is None else _attributes(list(table.columns))
    return Run(
        name=name,
        shard_dir=shard_dir,
        settings=settings,
        summary=read_summary(run_dir),
        seeds=() if table is None else _seed_rows(table, attributes, seedbook, classifier),
        attributes=attributes,
        images=_table_if_there(run_dir / "images.parquet"),
        seedbook=seedbook,
        classifier=classifier,
        feature_notes=_safetensors_notes(run_dir / "features.safetensors"),
        reference_notes=_safetensors_notes(run_dir / "reference.safetensors"),
        model=(_json_if_there(shard_dir / "dataset.json") or {}).get("model") or {},
        places=_table_if_there(run_dir / "seed_map.parquet"),
        examples=_examples(_table_if_there(run_dir / "examples.parquet")),
        attention=_arrays_if_there(run_dir / "classifier" / "grad_cam.safetensors"),
        applications={path.stem: read_json(path) for path in sorted((run_dir / "applications").glob("*.json"))},
        application_sheets={path.stem: path for path in sorted((run_dir / "applications").glob("*.png"))},
    )


def _json_if_there(path: Path) -> dict[str, Any] | None:
    return read_json(path) if path.exists() else None


def _table_if_there(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    import pandas as pd

    return pd.read_parquet(path)


def _arrays_if_there(path: Path) -> dict[str, NDArray[Any]] | None:
    if not path.exists():
        return None
    from safetensors.numpy import load_file

    return dict(load_file(path))


def _examples(table: pd.DataFrame | None) -> dict[tuple[int, str], tuple[int, int]]:
    if table is None:
        return {}
    rows = zip(table["seed"], table["attribute"], table["typical"], table["extreme"], strict=True)
    return {(int(seed), str(name)): (int(typical), int(extreme)) for seed, name, typical, extreme in rows}


def _safetensors_notes(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as stream:
        return dict(stream.metadata() or {})


def _attributes(columns: list[str]) -> tuple[Attribute, ...]:
    names = order([column.removesuffix("_mean") for column in columns if column.endswith("_mean")])
    return tuple(Attribute(name, f"{name}_share" in columns) for name in names)


def _seed_rows(
    table: pd.DataFrame,
    attributes: tuple[Attribute, ...],
    seedbook: Mapping[str, Any] | None,
    classifier: Mapping[str, Any] | None,
) -> tuple[SeedRow, ...]:
    cards = {int(card["seed"]): card for card in (seedbook or {}).get("cards", ())}
    accuracies = (classifier or {}).get("per_seed_accuracy", {})
    rows = []
    for record in cast("list[dict[str, Any]]", table.sort_values("seed").to_dict("records")):
        seed = int(record["seed"])
        card = cards.get(seed, {})
        rank, n = finite(record.get("fid_rank")), finite(record.get("n"))
        rows.append(
            SeedRow(
                seed=seed,
                n=None if n is None else int(n),
                fid=_from_columns(record, "fid", "fid"),
                rank=None if rank is None else int(rank),
                verdict=_verdict(seed, card, seedbook),
                tags=tuple(str(tag) for tag in card.get("tags", ())),
                values=_attribute_values(record, attributes),
                q_values=_q_values(record),
                accuracy=finite(accuracies.get(str(seed))),
            )
        )
    return tuple(rows)


def _attribute_values(record: Mapping[str, Any], attributes: tuple[Attribute, ...]) -> dict[str, Estimate]:
    found = {}
    for attribute in attributes:
        column = attribute.column
        value = _from_columns(record, f"{column}_share" if attribute.share else f"{column}_mean", column)
        if value is not None:
            found[column] = value
    return found


def _q_values(record: Mapping[str, Any]) -> dict[str, float]:
    ends = [name for name in record if name.endswith("_q_value")]
    return {name.removesuffix("_q_value"): q for name in ends if (q := finite(record[name])) is not None}


def _from_columns(record: Mapping[str, Any], value_column: str, prefix: str) -> Estimate | None:
    value, n = finite(record.get(value_column)), finite(record.get("n"))
    if value is None:
        return None
    low, high = finite(record.get(f"{prefix}_low")), finite(record.get(f"{prefix}_high"))
    return Estimate(value, low, high, None if n is None else int(n))


def _verdict(seed: int, card: Mapping[str, Any], seedbook: Mapping[str, Any] | None) -> str:
    verdict = card.get("verdict")
    if verdict in VERDICTS:
        return str(verdict)
    for kind in ("golden", "inferior"):
        if seed in (seedbook or {}).get(kind, ()):
            return kind
    return "inconclusive"
