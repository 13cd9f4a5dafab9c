"""The step ``verify``: looks at every shard, names what is wrong, and makes it again where asked to.

Nothing of it is tracked: a shard that is made again has the bytes it had.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from seedml.errors import UserError
from seedml.generation.step import generate
from seedml.generation.stopping import launched_by_lightning
from seedml.grid import Tile, build_grid
from seedml.progress import track
from seedml.prompts import load_prompts
from seedml.shards.commit import remove_leftovers
from seedml.shards.dataset import ShardDataset, open_dataset, study_settings
from seedml.shards.mirror import mirror_of
from seedml.shards.verify import ENDINGS, Finding, Kind, TileReport, inspect_folder, inspect_tiles, marker_identity
from seedml.tracking import NullTracker, is_rank_zero

if TYPE_CHECKING:
    from seedml.config import StudyConfig


def verify(config: StudyConfig) -> None:
    """Compare every shard with its marker, its table and the plan, and print what is wrong, one line each.

    With ``repair``, remove damaged shards and leftovers of dead processes and make what is missing; foreign files stay.
    With ``shards.url``, shards that are only there are fetched first, and so are those that a repair has removed. Of
    several processes the first one looks; those that Lightning starts for a repair help with it.

    Raises:
        UserError: there is no data set, it was made with other settings, or (nothing is touched then) something is
            wrong and ``repair`` is not asked for; or it is still wrong after the repair.

    """
    if not is_rank_zero(os.environ):
        if config.repair and launched_by_lightning(os.environ):
            generate(config, NullTracker())
        return
    dataset, tiles = _dataset_of(config)
    reports, strays = _inspect(dataset, tiles), inspect_folder(dataset, tiles)
    findings = _print(reports, strays)
    print(f"{config.name}: {_summary(reports, strays)}", flush=True)
    if config.repair:
        _repair(config, dataset, [report for report in reports if report.findings])
    elif findings:
        foreign = all(finding.kind is Kind.FOREIGN_FILE for finding in findings)
        raise UserError(
            f"{dataset.folder} is not as it should be: {_count(len(findings), 'finding')}, listed above",
            remedy="move foreign files out of the folder"
            if foreign
            else "run the same command with repair=true, which makes damaged and missing shards again and no others",
        )


def _dataset_of(config: StudyConfig) -> tuple[ShardDataset, list[Tile]]:
    """The study's data set, whatever state it is in, and the tiles it should have. Needs no model."""
    prompts = load_prompts(config.prompts)
    grid = build_grid(config, prompts)
    tiles = grid.tiles_for(config.shards)
    mirror = mirror_of(config)
    if mirror is not None:
        mirror.pull_small()
    dataset = open_dataset(config.shard_dir)
    settings = study_settings(config, grid, prompts)
    dataset.guard(settings, only=list(settings))
    if mirror is not None:
        mirror.pull([dataset.shard(tile) for tile in tiles])
    return dataset, tiles


def _inspect(dataset: ShardDataset, tiles: Sequence[Tile]) -> list[TileReport]:
    return list(track(inspect_tiles(dataset, tiles), "verify", total=len(tiles), unit="shards"))


def _print(reports: Sequence[TileReport], strays: Sequence[Finding] = ()) -> list[Finding]:
    """All findings, sorted; also returns them."""
    findings = sorted([*strays, *(finding for report in reports for finding in report.findings)])
    for finding in findings:
        print(finding)
    return findings


def _summary(reports: Sequence[TileReport], strays: Sequence[Finding]) -> str:
    """What was looked at and what is whole, in one line."""
    whole = [report.marker for report in reports if report.marker is not None and not report.findings]
    images = sum(marker.count for marker in whole)
    failed = sum(marker.cells for marker in whole) - images
    return (
        f"{len(whole):,} of {_count(len(reports), 'shard')} whole: {sum(marker.bytes for marker in whole):,} bytes,"
        f" {_count(images, 'image')}, {failed:,} failed; {_count(len(strays), 'other file')} in the folder"
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _repair(config: StudyConfig, dataset: ShardDataset, damaged: Sequence[TileReport]) -> None:
    """Remove what is damaged, make it again, look at it again."""
    removed = remove_leftovers(dataset.folder)
    for report in damaged:
        _remove(dataset, report)
    if damaged:
        generate(config, NullTracker())
        mirror = mirror_of(config)
        if mirror is not None:
            mirror.pull([dataset.shard(report.tile) for report in damaged])
    again = _inspect(dataset, [report.tile for report in damaged]) if damaged else []
    if findings := _print(again):
        raise UserError(
            f"{dataset.folder} is still damaged after its repair: {_count(len(findings), 'finding')}, listed above",
            remedy="delete these shards behind shards.url too, and run the same command again"
            if config.shards.url
            else "check the disk, and that nobody else changes these files; then run the same command again",
        )
    for old, new in zip(damaged, again, strict=True):
        if _other_bytes(old, new):
            print(f"{dataset.shard(new.tile).name}: made again with other bytes than it had: other library versions?")
    print(f"{config.name}: {_count(len(damaged), 'shard')} made again, {_count(len(removed), 'leftover')} removed")


def _remove(dataset: ShardDataset, report: TileReport) -> None:
    """Delete a damaged shard, its marker first: whatever interrupts this leaves a missing tile, not a damaged one.

    A tile without a marker stays as it is (another process may be about to finish it), and so does one that was made
    again since it was looked at.
    """
    shard = dataset.shard(report.tile)
    if report.seen is None or marker_identity(shard.with_suffix(".json")) != report.seen:
        return
    for ending in ENDINGS:
        shard.with_suffix(f".{ending}").unlink(missing_ok=True)


def _other_bytes(old: TileReport, new: TileReport) -> bool:
    """Whether a shard has other bytes than its old marker, where that can be trusted, says it had."""
    if old.marker is None or new.marker is None:
        return False
    return old.marker.fingerprint == new.marker.fingerprint and old.marker.sha256 != new.marker.sha256
