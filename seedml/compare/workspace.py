"""A comparison in W&B beyond its run: a report to read and a workspace to play with, both built of plain objects.

Building needs no network and no account, so tests validate what would be sent. Saving needs both, happens online alone,
waits no longer than ``SAVE_SECONDS`` and never stops a comparison: its files are the truth.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from seedml.compare import wording
from seedml.compare.pairs import PairComparison
from seedml.report.numbers import p_value

if TYPE_CHECKING:
    from wandb_workspaces.reports.v2 import Report
    from wandb_workspaces.workspaces import Workspace

    from seedml.compare.step import Comparison

SAVE_SECONDS = 15.0
"""How long saving the report and the workspace may take together."""
MISSING = "the W&B report needs wandb-workspaces: pip install 'seedml[workspaces]'"
_TABLES = {
    "compare/studies": "Studies: the settings in which they differ, and their headline numbers",
    "compare/seeds": "Seeds: FID, rank and verdict in every study",
    "compare/attributes": "Attributes: order of seeds, differences of means, seed's share of the variance",
}
_HEADLINES = (
    "golden_gain_held_out.value", "seed_grip.value", "fid_best.value", "split_half_rank_correlation.value",
    "fid_spread.value", "diversity_gain.value",
)  # fmt: skip
"""Summary keys of the studies' own runs that a sweep is read by."""


def build_report(found: Comparison, entity: str, project: str, group: str) -> Report:
    """The report: findings in words and tables, then panels of the comparison's run and of the studies' own runs.

    Args:
        found: the comparison.
        entity: user or team; empty = the account's default.
        project: project of all runs.
        group: group of the comparison's run.

    """
    import wandb_workspaces.reports.v2 as wr

    names = [study.name for study in found.studies]
    blocks: list[Any] = [
        wr.TableOfContents(),
        wr.MarkdownBlock(f"Every study is compared with the first one, **{names[0]}**. Intervals cover "
                         f"{100 * found.confidence:g} %. Files and page: `compare.json`, `compare.html` (artifacts)."),
        wr.H1("Settings in which the studies differ"),
        wr.MarkdownBlock(_differing(found, names)),
    ]  # fmt: skip
    for pair in found.pairs:
        blocks += [wr.H1(f"{pair.first.name} and {pair.second.name}"), wr.MarkdownBlock(_pair_markdown(pair))]
    panels: list[Any] = [
        wr.WeavePanelSummaryTable(table_name=key, layout=wr.Layout(x=0, y=12 * at, w=24, h=12))
        for at, key in enumerate(_TABLES)
    ]
    panels.append(
        wr.MediaBrowser(media_keys=["compare/same_cells"], layout=wr.Layout(x=0, y=12 * len(_TABLES), w=24, h=14))
    )
    own = wr.Runset(entity=entity, project=project, name="comparison", filters=f"Group = '{group}'")
    groups = ", ".join(f"'{name}'" for name in _groups(found))
    others = wr.Runset(entity=entity, project=project, name="studies", filters=f"Group in [{groups}]")
    blocks += [
        wr.H1("Tables and pictures"), wr.UnorderedList([f"{key}: {what}" for key, what in _TABLES.items()]),
        wr.PanelGrid(runsets=[own], panels=panels),
        wr.H1("The studies' own runs"),
        wr.PanelGrid(runsets=[others], panels=_study_panels(found)),
    ]  # fmt: skip
    return wr.Report(
        entity=entity, project=project, title=f"Seed studies compared: {' · '.join(names)}",
        description="Made by seedml compare.", blocks=blocks, width="fluid",
    )  # fmt: skip


def build_workspace(found: Comparison, entity: str, project: str) -> Workspace:
    """The workspace: the studies' own runs grouped by study, headline numbers against the settings that differ."""
    import wandb_workspaces.workspaces as ws

    groups = ", ".join(f"'{name}'" for name in _groups(found))
    return ws.Workspace(
        entity=entity, project=project, name=f"seedml {found.name}"[:120],
        sections=[ws.Section(name="Headline numbers", panels=_study_panels(found), is_open=True)],
        runset_settings=ws.RunsetSettings(
            filters=f"Group in [{groups}]", groupby=[ws.Metric("Group")],
            pinned_columns=[f"summary:{key}" for key in _HEADLINES],
        ),
    )  # fmt: skip


def _groups(found: Comparison) -> list[str]:
    """The W&B groups that the studies' runs are in."""
    settings = [study.run.settings for study in found.studies]
    return [
        str((said.get("tracking") or {}).get("group") or said.get("name") or study.name)
        for said, study in zip(settings, found.studies, strict=True)
    ]


def _study_panels(found: Comparison) -> list[Any]:
    """A bar plot of each headline number, and all settings that differ against the golden seeds' gain."""
    import wandb_workspaces.reports.v2 as wr

    panels: list[Any] = [
        wr.BarPlot(
            title=key.removesuffix(".value"),
            metrics=[wr.SummaryMetric(key)],
            layout=wr.Layout(x=8 * (at % 3), y=6 * (at // 3)),
        )
        for at, key in enumerate(_HEADLINES)
    ]
    numeric = [key for key, values in found.differing.items() if all(_is_number(value) for value in values)]
    if numeric:
        columns = [wr.ParallelCoordinatesPlotColumn(metric=wr.Config(key)) for key in numeric]
        columns.append(wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(_HEADLINES[0])))
        panels.append(wr.ParallelCoordinatesPlot(columns=columns, layout=wr.Layout(x=0, y=12, w=24, h=8)))
    return panels


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _differing(found: Comparison, names: Sequence[str]) -> str:
    return _markdown(["setting", *names], [[key, *map(str, row)] for key, row in found.differing.items()])


def _pair_markdown(pair: PairComparison) -> str:
    names = (pair.first.name, pair.second.name)
    said = [wording.noise_sentence(pair), wording.prompts_sentence(pair), wording.level_sentence(pair)]
    said += [
        wording.gain_sentence(chooser, judge, gain)
        for (chooser, judge), gain in zip((names, names[::-1]), pair.gains, strict=True)
    ]
    rows = [
        ["rank correlation of the seeds' FID", wording.correlation(pair.order.spearman), "0", p_value(pair.order.p)]
    ]
    rows += [[wording.LIST_NAMES[name] + " in common", *wording.overlap_cells(found)]
             for name, found in pair.overlaps.items()]  # fmt: skip
    attributes = [
        [wording.title(one), wording.correlation(one.order.spearman if one.order else None), wording.shift_cell(one),
         wording.q_cell(one.shift_q), wording.share_cell(one, 0), wording.share_cell(one, 1)]
        for one in pair.attributes if not wording.is_detail(one)
    ]  # fmt: skip
    heads = [
        "attribute",
        "order of seeds (ρ)",
        "difference of means",
        "q",
        *(f"seed's share, {name}" for name in names),
    ]
    return "\n\n".join([*(line for line in said if line), _markdown(["", "value", "chance", "p"], rows),
                        _markdown(heads, attributes)])  # fmt: skip


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table; bars in cells would end them."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |"
                     for line in lines)  # fmt: skip


def save(found: Comparison, entity: str, project: str, group: str) -> None:
    """Save the report and the workspace; says what came of it in one line each, and raises nothing of W&B's."""
    try:
        makers: list[Callable[[], Any]] = [
            build_report(found, entity, project, group).save, build_workspace(found, entity, project).save,
        ]  # fmt: skip
    except ImportError:
        _say(MISSING)
        return
    thread = threading.Thread(target=_save_all, args=(makers,), daemon=True)
    thread.start()
    thread.join(SAVE_SECONDS)
    if thread.is_alive():
        _say(f"W&B: the report was not saved within {SAVE_SECONDS:g} s; run the same command again to try again")


def _save_all(makers: Sequence[Callable[[], Any]]) -> None:
    for make in makers:
        try:
            _say(f"W&B: {make().url}")
        except Exception as error:  # whatever a server or its library says, the comparison is on disk
            _say(f"W&B: the report was not saved ({type(error).__name__}: {' '.join(str(error).split())[:160]})")
            return


def _say(line: str) -> None:
    print(line, file=sys.stderr)
