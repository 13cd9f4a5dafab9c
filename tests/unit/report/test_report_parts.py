"""Which seeds, prompts and words the page shows; the snippet; the pictures."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from synthetic_run import BORDER_SEED, FAILED_CELL, GRAYSCALE_SEED, SPLITS, make_run, settings

from seedml.grid import Cell
from seedml.report import galleries
from seedml.report.attribute_sections import attribute_sections, featured_seeds
from seedml.report.classifier_section import classifier_section
from seedml.report.headline import headlines, permutation_statement
from seedml.report.inputs import Run, read_run
from seedml.report.methods import methods
from seedml.report.numbers import Estimate
from seedml.report.pictures import SIDE, read_pictures
from seedml.report.seed_table import seed_table
from seedml.report.selection_section import selection_findings
from seedml.report.usage import caveats, snippet
from seedml.report.variance_section import variance_section
from seedml.shards.format import Record
from seedml.shards.writer import ShardWriter

SEEDS = tuple(range(12))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("parts")
    make_run(root, SEEDS)
    return read_run(root / "runs/synthetic", root / "shards/synthetic", "synthetic", settings())


def with_summary(run: Run, **values: object) -> Run:
    return replace(run, summary={**run.summary, **values})


def test_prompts_shown_are_the_first_held_out_ones(run: Run) -> None:
    first = SPLITS["train"] + SPLITS["val"]
    assert galleries.prompts_shown(run) == tuple(range(first, first + galleries.COLUMNS))


def test_prompts_shown_fall_back_to_other_splits(run: Run) -> None:
    assert run.images is not None
    few = replace(run, images=run.images[run.images["prompt_id"].isin([0, 1, 6, 8])])
    assert galleries.prompts_shown(few) == (8, 6, 0, 1)  # test, val, train


def test_best_and_worst_follow_selection_else_the_ranking(run: Run) -> None:
    assert galleries.best_and_worst(run) == (list(run.chosen("golden")), list(run.chosen("inferior")))
    unselected = replace(run, seedbook=None)
    best, worst = galleries.best_and_worst(unselected)
    ranked = [row.seed for row in sorted(run.seeds, key=lambda row: row.fid.value if row.fid else 0)]
    assert best == ranked[:5]
    assert worst == ranked[::-1][:5]


def test_a_study_of_three_seeds_shows_none_twice(run: Run) -> None:
    three = replace(run, seeds=run.seeds[:3], seedbook=None)
    best, worst = galleries.best_and_worst(three)
    assert len(best) == len(worst) == 1
    assert not set(best) & set(worst)


@pytest.mark.parametrize("seeds", [1, 64, 400, 1024, 5000])
def test_pictures_stay_within_the_budget(seeds: int) -> None:
    each = galleries.prompts_per_seed(seeds)
    assert 1 <= each <= galleries.COLUMNS
    assert each == 1 or each * seeds <= galleries.BUDGET


def test_the_grayscale_and_the_border_seed_lead_their_sections(run: Run) -> None:
    sections = {section.anchor: section for section in attribute_sections(run, {})}
    assert sections["attribute-grayscale"].grids[0].rows[0].seed == GRAYSCALE_SEED
    assert sections["attribute-border"].grids[0].rows[0].seed == BORDER_SEED
    assert f"100 % (seed {GRAYSCALE_SEED})".replace(" %", "\u202f%") in sections["attribute-grayscale"].findings[0]
    assert "attribute-grayscale_chroma" not in sections
    assert {row.seed for part in sections.values() for grid in part.grids for row in grid.rows} <= set(
        featured_seeds(run)
    )


def test_every_section_orders_seeds_by_its_attribute(run: Run) -> None:
    for column in ("sky", "size", "agreement", "lettering"):
        values = {row.seed: row.values[column].value for row in run.seeds}
        section = next(s for s in attribute_sections(run, {}) if s.anchor == f"attribute-{column}")
        top = [row.seed for row in section.grids[0].rows]
        assert top == sorted(values, key=lambda seed: (-values[seed], seed))[:3]
        if len(section.grids) > 1:
            assert [row.seed for row in section.grids[1].rows] == sorted(values, key=lambda s: (values[s], s))[:3]


def test_location_section_names_the_four_sides(run: Run) -> None:
    section = attribute_sections(run, {})[-1]
    means = {row.seed: (row.values["location_x"].value, row.values["location_y"].value) for row in run.seeds}
    expected = {
        min(means, key=lambda s: means[s][0]): "farthest left", max(means, key=lambda s: means[s][0]): "farthest right",
        min(means, key=lambda s: means[s][1]): "highest", max(means, key=lambda s: means[s][1]): "lowest",
    }  # fmt: skip
    shown = {row.seed: row.note for row in section.grids[0].rows}
    assert shown.keys() == expected.keys()
    assert all(expected[seed] in note for seed, note in shown.items())


def test_heat_map_puts_every_picture_of_the_seed_where_its_object_is(run: Run) -> None:
    assert run.images is not None
    for row in attribute_sections(run, {})[-1].grids[0].rows:
        own = run.images[run.images["seed"] == row.seed]
        expected: dict[tuple[int, int], int] = {}
        for x, y in zip(own["location_x"].dropna(), own["location_y"].dropna(), strict=True):
            cell = (min(int(x * 12), 11), min(int(y * 12), 11))
            expected[cell] = expected.get(cell, 0) + 1
        boxes = [box for box in ElementTree.fromstring(row.chart).iter("rect") if box.get("class") == "heat-cell"]
        drawn = {
            (round(float(box.get("x", "")) / 128 * 12), round(float(box.get("y", "")) / 128 * 12)): int(
                (box.findtext("title") or "").split()[0]
            )
            for box in boxes
        }
        assert drawn == expected


def test_an_unknown_attribute_gets_a_section_and_a_share(run: Run, tmp_path: Path) -> None:
    make_run(tmp_path, SEEDS)
    path = tmp_path / "runs/synthetic/seeds.parquet"
    table = pd.read_parquet(path)
    table["motion_blur_mean"], table["motion_blur_share"] = 0.1, np.linspace(0, 1, len(table))
    table.to_parquet(path)
    other = read_run(path.parent, tmp_path / "shards/synthetic", "synthetic", settings())
    section = next(s for s in attribute_sections(other, {}) if s.anchor == "attribute-motion_blur")
    assert section.title == "Motion blur"
    assert section.grids[0].rows[0].seed == SEEDS[-1]


def test_an_attribute_that_is_the_same_for_all_has_no_chart(run: Run) -> None:
    rows = tuple(replace(row, values={**row.values, "sky": Estimate(0.25, 0.25, 0.25)}) for row in run.seeds)
    section = next(s for s in attribute_sections(replace(run, seeds=rows), {}) if s.anchor == "attribute-sky")
    assert section.findings == ("It is 0.250 for every seed: there is nothing to compare.",)
    assert (str(section.chart), section.grids) == ("", ())


def test_seeds_without_a_number_are_left_out_and_not_ranked(run: Run, tmp_path: Path) -> None:
    make_run(tmp_path, SEEDS)
    path = tmp_path / "runs/synthetic/seeds.parquet"
    table = pd.read_parquet(path)
    table.loc[table["seed"] == 2, ["sky_mean", "fid"]] = np.nan
    table.to_parquet(path)
    other = read_run(path.parent, tmp_path / "shards/synthetic", "synthetic", settings())
    assert "sky" not in other.seeds[2].values
    assert other.seeds[2].fid is None
    section = next(s for s in attribute_sections(other, {}) if s.anchor == "attribute-sky")
    assert 2 not in {row.seed for grid in section.grids for row in grid.rows}


def test_the_permutation_statement_follows_the_p_value(run: Run) -> None:
    assert "none of 200 shuffles (p = 0.005)" in permutation_statement(run)
    assert "So the seeds do differ." in permutation_statement(run)
    unclear = permutation_statement(with_summary(run, fid_spread_null_p=61 / 201))
    assert "60 of 200 shuffles" in unclear
    assert "cannot be told apart" in unclear
    assert permutation_statement(with_summary(run, fid_spread_null_p=None)) == ""


def test_the_permutation_statement_gives_the_gap_and_that_of_chance(run: Run) -> None:
    statement = permutation_statement(run)
    assert "A gap of 4.07 or more" in statement
    assert "1.20 in the mean (0.70 to 1.90 in 95\u202f% of them)" in statement


def test_selection_is_told_beside_chance(run: Run) -> None:
    gain, loss, shared = selection_findings(run)
    assert "2.10 (0.90 to 3.20); of as many seeds drawn at random: 0.01 (−1.20 to 1.30)" in gain
    assert "chosen by: 3.40 (2.00 to 4.80), part of which is luck; with that luck taken out" in gain
    assert "taken out: 2.90 (2.10 to 3.70)" in gain
    assert "loss in FID against the average seed on held-out prompts: 1.80 (0.40 to 3.10)" in loss
    assert shared.startswith("2 of 3 best seeds")
    assert "luck alone gives 0.8 (0 to 1), p = 0.02" in shared
    none = replace(run, seedbook={**(run.seedbook or {}), "golden": []})
    assert "No seed is golden beyond doubt" in selection_findings(none)[0]
    assert selection_findings(replace(run, seedbook=None)) == ()


def test_seeds_that_differ_are_counted_and_marked(run: Run) -> None:
    section = next(s for s in attribute_sections(run, {}) if s.anchor == "attribute-sky")
    assert any("2 of 12 seeds differ from the average seed" in finding for finding in section.findings)
    table = seed_table(run)
    titles = [column.title for column in table.columns]
    for column, expected in (("Sky", {GRAYSCALE_SEED, BORDER_SEED}), ("FID", _fid_below(run, 21.0))):
        at = titles.index(column)
        assert {row.seed for row in table.rows if row.cells[at].differs} == expected


def test_tags_are_in_plain_words(run: Run) -> None:
    row = galleries.grid(run, {}, [7], "").rows[0]
    assert row.tags == ("high sky",)
    assert galleries.plain_tag("low border_width") == "low border width"
    assert galleries.plain_tag("grayscale") == "grayscale"


def _fid_below(run: Run, bound: float) -> set[int]:
    return {row.seed for row in run.seeds if row.fid and row.fid.value < bound}


def test_headlines_say_when_the_choice_is_not_confirmed(run: Run) -> None:
    def reading(run: Run) -> str:
        return next(line.reading for line in headlines(run) if line.title.startswith("Do golden seeds hold?"))

    assert reading(run).endswith("The choice holds.")
    doubtful = with_summary(run, golden_gain_held_out={"value": 0.5, "low": -0.3, "high": 1.2, "n": 6})
    assert reading(doubtful).endswith("not confirmed.")
    absent = [line.title for line in headlines(replace(run, summary={})) if line.step]
    assert len(absent) == len(headlines(run))


def test_the_control_is_judged_against_chance(run: Run) -> None:
    def sentence(low: float, value: float, high: float) -> str:
        metrics = {**(run.classifier or {}), "chance": 0.083,
                   "shuffled_label_accuracy": {"value": value, "low": low, "high": high}}  # fmt: skip
        section = classifier_section(replace(run, classifier=metrics))
        assert section is not None
        return section.findings[1]

    assert "That is chance" in sentence(0.06, 0.081, 0.104)
    assert "leak" in sentence(0.2, 0.25, 0.3)
    assert "below chance" in sentence(0.01, 0.02, 0.03)


def test_classifier_section_names_the_hardest_seed(run: Run) -> None:
    section = classifier_section(run)
    assert section is not None
    assert "seed 0 (97.0\u202f%)" in section.findings[2]
    assert classifier_section(replace(run, classifier=None)) is None
    bare = classifier_section(replace(run, classifier={"test_accuracy": 0.5}))
    assert bare is not None
    assert str(bare.loss) == ""


def test_variance_section_names_the_strongest_attribute(run: Run) -> None:
    section = variance_section(run)
    assert section is not None
    assert "“Sky”: 71.0\u202f%" in section.finding
    assert "60.0 to 80.0\u202f%" in section.finding
    assert variance_section(with_summary(run, seed_share_sky=None, seed_share_size={"value": float("nan")})) is None


def test_methods_report_settings_time_and_failures(run: Run) -> None:
    made = methods(run)
    assert ("sampler.batch_size", "32") in made.settings
    assert ("model.scheduler", "null") in made.settings
    assert ("generate", "3.1 min") in made.seconds
    assert ("together", "5.2 min") in made.seconds
    notes = " ".join(made.notes)
    assert "left out: 1." in notes
    assert "network “bundled”" in notes
    assert "unequal numbers of pictures" in notes  # the fixture's seed with a failed cell


# --- the snippet ---


class _Fake:
    """Stands in for diffusers: records how it is called."""

    calls: list[tuple[str, dict[str, Any]]]

    def __init__(self) -> None:
        self.calls = []

    def modules(self) -> Mapping[str, ModuleType]:
        recorder = self

        class Images:
            images: tuple[Any, ...] = (Image.new("RGB", (8, 8)),)

        class DDIMScheduler:
            config: Any = MappingProxyType({"old": 1})

            @classmethod
            def from_config(cls, config: object, **options: Any) -> str:
                recorder.calls.append((f"scheduler of {dict(config)}", options))  # type: ignore[call-overload]
                return "new"

        class Pipeline:
            scheduler: Any = DDIMScheduler()

            @classmethod
            def from_pretrained(cls, path: object, **options: Any) -> Pipeline:
                recorder.calls.append((str(path), options))
                return cls()

            def __call__(self, prompt: str, **options: Any) -> Images:
                recorder.calls.append((prompt, options))
                return Images()

        diffusers = ModuleType("diffusers")
        diffusers.DiffusionPipeline, diffusers.DDIMScheduler = Pipeline, DDIMScheduler  # type: ignore[attr-defined]
        return {"diffusers": diffusers}


def run_snippet(code: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> list[tuple[str, dict[str, Any]]]:
    fake = _Fake()
    for name, module in fake.modules().items():
        monkeypatch.setitem(__import__("sys").modules, name, module)
    monkeypatch.chdir(folder)
    exec(compile(code, "snippet", "exec"), {})
    return fake.calls


def test_the_snippet_runs_with_the_studys_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nasty = "it's a \"red\" {ball}\n<script>'''"
    chosen = settings()
    chosen["model"] |= {"path": "some/model'); import os #", "revision": "abc", "scheduler": "DDIMScheduler",
                        "scheduler_options": {"timestep_spacing": "trailing"}, "dtype": "float16"}  # fmt: skip
    chosen["sampler"] |= {"steps": 4, "guidance_scale": 0.0}
    calls = run_snippet(snippet(chosen, [7, 3], nasty, {"height": 64, "width": 96}), monkeypatch, tmp_path)
    import torch

    path, options = calls[0]
    assert path == "some/model'); import os #"
    assert options == {"revision": "abc", "torch_dtype": torch.float16}
    assert calls[1] == ("scheduler of {'old': 1}", {"timestep_spacing": "trailing"})
    for (prompt, call), seed in zip(calls[2:], (7, 3), strict=True):
        assert prompt == nasty
        generator = call.pop("generator")
        assert generator.device.type == "cpu"
        assert generator.initial_seed() == seed
        assert call == {"num_inference_steps": 4, "guidance_scale": 0.0, "height": 64, "width": 96}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["seed-3.png", "seed-7.png"]


def test_the_snippet_finds_the_bundled_model() -> None:
    code = snippet(settings(), [1], "a mug", {})
    compile(code, "snippet", "exec")
    assert "from seedml.models.bundled import seedling_folder" in code


def test_options_alone_change_the_models_own_scheduler(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    chosen = settings()
    chosen["model"]["scheduler_options"] = {"timestep_spacing": "trailing"}
    calls = run_snippet(snippet(chosen, [1], "a mug", {}), monkeypatch, tmp_path)
    assert calls[1] == ("scheduler of {'old': 1}", {"timestep_spacing": "trailing"})


def test_caveats_name_what_the_snippet_cannot_repeat() -> None:
    assert caveats(settings()) == []
    assert "noise.step_seed" in caveats({"noise": {"step_seed": 3}})[0]
    assert caveats({"noise": {"initial_seed": 0}})


# --- pictures ---


def test_pictures_are_the_shards(run: Run, tmp_path: Path) -> None:
    """Every embedded picture, decoded again, is the shard's to WebP's precision, and no two are mixed up."""
    root = tmp_path
    make_run(root, SEEDS[:4])
    wanted = {(seed, prompt) for seed in SEEDS[:4] for prompt in (0, 6, 9)} | {(99, 0), (0, 999)}
    pictures = read_pictures(root / "shards/synthetic", wanted)
    assert set(pictures) == {cell for cell in wanted if cell[0] < 99 and cell[1] < 999}
    originals = _all_images(root / "shards/synthetic")
    for cell, picture in pictures.items():
        assert (picture.width, picture.height) == (128, 128)
        embedded = _decode(picture.uri)
        errors = {other: np.abs(embedded - original).mean() for other, original in originals.items()}
        assert errors[cell] < 4
        assert errors[cell] == min(errors.values())


def test_the_failed_cell_and_an_absent_folder_have_no_pictures(tmp_path: Path) -> None:
    make_run(tmp_path, SEEDS[:6])
    assert read_pictures(tmp_path / "shards/synthetic", [FAILED_CELL]) == {}
    assert read_pictures(tmp_path / "nowhere", [(0, 0)]) == {}


@pytest.mark.parametrize("image_format", ["png", "webp", "jpg"])
def test_large_pictures_of_any_format_become_thumbnails(tmp_path: Path, image_format: str) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (512, 256), (10, 200, 30)).save(buffer, {"jpg": "JPEG"}.get(image_format, image_format.upper()))
    with ShardWriter(tmp_path, "test-000000", image_format, "0" * 64) as writer:
        writer.add(Record(Cell(5, 2), "wide", "test", "0" * 64, 256, 512, buffer.getvalue()))
    picture = read_pictures(tmp_path, [(5, 2)])[5, 2]
    assert (picture.width, picture.height, picture.prompt) == (SIDE, SIDE // 2, "wide")
    assert np.abs(_decode(picture.uri) - np.array([10, 200, 30])).max() < 12


def _decode(uri: str) -> np.ndarray[Any, Any]:
    assert uri.startswith("data:image/webp;base64,")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))), dtype=float)


def _all_images(shard_dir: Path) -> dict[tuple[int, int], np.ndarray[Any, Any]]:
    from seedml.shards.reader import read_shard

    return {
        (sample.seed, sample.prompt_id): sample.pixels().astype(float)
        for shard in sorted(shard_dir.glob("*.tar"))
        for sample in read_shard(shard)
    }
