"""The whole study through the real command line, on the bundled model: every promise about files on disk."""

import io
import json
import os
import re
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from wandb_offline import offline_runs

from seedml.files import sha256_of
from seedml.tracking import history, read_journal

SEEDS, PROMPTS = 6, 24
SUMMARY = {
    "images", "seeds", "prompts", "fid_best", "fid_worst", "fid_best_seed", "fid_worst_seed", "fid_spread_null_p",
    "split_half_rank_correlation", "classifier_test_accuracy", "classifier_shuffled_label_accuracy",
    "classifier_chance", "golden_gain_held_out", "diversity_gain", "seconds", "versions", "device",
}  # fmt: skip
CARD = {
    "seed", "model", "revision", "generator_device", "torch_version", "latent_shape", "dtype", "scheduler", "steps",
    "guidance_scale", "noise_sha256", "scores", "verdict", "tags",
}  # fmt: skip


PLANTED = "planted-in-the-environment-4711"


def seedml(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "seedml", *words], cwd=cwd, capture_output=True, text=True, timeout=280,
        env={**os.environ, "OMP_NUM_THREADS": "2", "PLANTED_API_TOKEN": PLANTED}, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("home")
    done = seedml("study", "smoke", "seeds=0:6", "tracking.group=team-${oc.env:PLANTED_API_TOKEN}", cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    (folder / "stdout.txt").write_text(done.stdout)
    (folder / "stderr.txt").write_text(done.stderr)
    return folder


@pytest.fixture(scope="module")
def run(home):
    return home / "runs" / "smoke"


@pytest.fixture(scope="module")
def shards(home):
    return home / "shards" / "smoke"


def test_it_ends_with_the_headline_numbers_and_the_report(home):
    lines = (home / "stdout.txt").read_text().strip().splitlines()
    assert lines[-1].endswith("runs/smoke/report.html")
    assert "wandb sync" in (home / "stderr.txt").read_text()
    assert any(line.startswith("Which seed made it?: ") and "%" in line for line in lines)


def test_a_secret_of_the_environment_is_in_no_file(home):
    files = [path for path in home.rglob("*") if path.is_file()]
    assert len(files) > 50
    assert [path for path in files if PLANTED.encode() in path.read_bytes()] == []
    assert "group: team-(secret)" in (home / "runs" / "smoke" / "config.yaml").read_text()
    assert {run.group for run in offline_runs(home / "runs" / "smoke")} == {"team-(secret)"}


def test_what_is_in_weights_and_biases_is_what_the_journals_say(run):
    mirrored = {offline.job_type: offline for offline in offline_runs(run)}
    assert list(mirrored) == ["generate", "measure", "summarize", "classify", "select", "apply", "report"]
    for step, offline in mirrored.items():
        rows = [{key: row[key] for key in row if not key.startswith("_")} for row in offline.history]
        journal = run / "tracking" / f"{step}.jsonl"
        assert [row for row in rows if "step" in row] == history(journal)
        assert offline.exit_code == 0
        for event in read_journal(journal):
            if event["event"] == "finish":
                assert {key: offline.summary[key] for key in event["cost"]} == event["cost"]


def test_each_step_says_what_it_was_made_from(run):
    journals = {path.stem: read_journal(path) for path in (run / "tracking").glob("*.jsonl")}
    uses = {step: {event["name"] for event in told if event["event"] == "uses"} for step, told in journals.items()}
    events = sorted((event for told in journals.values() for event in told), key=lambda event: event["time"])
    makes = {event["name"]: event for event in events if event["event"] in ("file", "references")}
    data, measurements, table, classifier, book = (
        f"smoke-{name}" for name in ("dataset", "measurements", "per-seed-table", "classifier", "seedbook")
    )
    assert uses["generate"] == set()
    assert uses["measure"] == uses["classify"] == {data}
    assert uses["summarize"] == {measurements}
    assert uses["select"] == {data, measurements}
    assert uses["apply"] == {data, measurements, classifier, book}
    assert uses["report"] == {table, classifier, book}
    for name in (data, measurements):
        folder = Path(os.path.normpath(run / makes[name]["folder"]))
        assert {file: sha256_of(folder / file) for file in makes[name]["files"]} == makes[name]["files"]
    for name in (table, classifier, book):
        assert sha256_of(run / makes[name]["path"]) == makes[name]["sha256"]


def test_shards_hold_every_cell_once_and_as_promised(shards):
    seen = []
    for tar in sorted(shards.glob("*.tar")):
        assert re.fullmatch(r"(train|val|test)-\d{6}\.tar", tar.name)
        marker = json.loads(tar.with_suffix(".json").read_text())
        table = pd.read_parquet(tar.with_suffix(".parquet"))
        assert marker["sha256"] == sha256_of(tar)
        with tarfile.open(tar) as archive:
            members = {member.name: archive.extractfile(member).read() for member in archive}
        keys = sorted({name.split(".")[0] for name in members})
        assert len(keys) == marker["count"] == len(table)
        for key in keys:
            meta = json.loads(members[f"{key}.json"])
            assert key == f"s{meta['seed']:010d}_p{meta['prompt_id']:07d}"
            assert members[f"{key}.txt"].decode() == meta["prompt"]
            assert meta["split"] == tar.name.split("-")[0]
            assert len(meta["noise_sha256"]) == 64
            assert meta["status"] == "ok"
            assert Image.open(io.BytesIO(members[f"{key}.png"])).size == (128, 128)
            seen.append((meta["seed"], meta["prompt_id"]))
    assert len(seen) == len(set(seen)) == SEEDS * PROMPTS


def test_noise_hash_is_that_of_plain_torch(shards):
    import hashlib

    tables = pd.concat([pd.read_parquet(path) for path in shards.glob("*.parquet")])
    for seed, rows in tables.groupby("seed"):
        noise = torch.randn(1, 4, 16, 16, generator=torch.Generator("cpu").manual_seed(int(seed)))
        assert set(rows["noise_sha256"]) == {hashlib.sha256(noise.numpy().tobytes()).hexdigest()}


def test_every_image_has_a_row_of_numbers(run):
    images = pd.read_parquet(run / "images.parquet")
    assert len(images) == SEEDS * PROMPTS
    assert list(images.columns[:4]) == ["seed", "prompt_id", "split", "status"]
    assert not images.duplicated(["seed", "prompt_id"]).any()
    numbers = images.drop(columns=["seed", "prompt_id", "split", "status"])
    assert {"grayscale", "border", "sky", "location_x", "location_y", "size", "agreement"} <= set(numbers.columns)
    assert np.isfinite(numbers.to_numpy(float)).all()


def test_every_seed_has_its_statistics(run):
    seeds = pd.read_parquet(run / "seeds.parquet")
    assert list(seeds["seed"]) == list(range(SEEDS))
    assert list(seeds.columns[:6]) == ["seed", "n", "fid", "fid_low", "fid_high", "fid_rank"]
    assert (seeds["n"] == PROMPTS).all()
    assert sorted(seeds["fid_rank"]) == list(range(1, SEEDS + 1))
    images = pd.read_parquet(run / "images.parquet")
    for column in ("sky", "size", "location_x"):
        expected = images.groupby("seed")[column].mean().to_numpy()
        np.testing.assert_allclose(seeds[f"{column}_mean"], expected, rtol=1e-6)
        assert (seeds[f"{column}_low"] <= seeds[f"{column}_high"]).all()
    np.testing.assert_allclose(seeds["grayscale_share"], images.groupby("seed")["grayscale"].mean(), atol=1e-9)


def test_summary_and_seed_book_have_what_the_contract_names(run):
    summary = json.loads((run / "summary.json").read_text())
    assert set(summary) >= SUMMARY
    assert summary["images"]["value"] == SEEDS * PROMPTS if isinstance(summary["images"], dict) else SEEDS * PROMPTS
    assert {"generate", "measure", "summarize", "classify", "select"} <= set(summary["seconds"])
    book = json.loads((run / "seedbook.json").read_text())
    assert [card["seed"] for card in book["cards"]] == list(range(SEEDS))
    for card in book["cards"]:
        assert set(card) >= CARD
        assert card["verdict"] in ("golden", "inferior", "inconclusive")
        assert card["latent_shape"] == [4, 16, 16]
    assert set(book["golden"]) <= set(range(SEEDS))


def test_checkpoints_load_without_pickle(run):
    from seedml.classifier.module import SeedClassifier

    files = list((run / "classifier").glob("*.ckpt"))
    assert files
    for path in files:
        state = torch.load(path, weights_only=True)["state_dict"]
        module = SeedClassifier.load_from_checkpoint(path, weights_only=True, map_location="cpu")
        assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())


def test_the_page_needs_no_network(run):
    page = (run / "report.html").read_text()
    assert len(page) > 50_000
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page.replace('href="https://arxiv.org', ""))


def test_each_step_is_a_tracked_run(run):
    runs = list((run / "wandb").rglob("*.wandb"))
    assert len(runs) == 7
    journals = {path.stem for path in (run / "tracking").glob("*.jsonl")}
    assert journals >= {"generate", "measure", "summarize", "classify", "select", "apply", "report"}


def test_run_again_it_makes_nothing_again(home, run, shards):
    kept = [
        *shards.iterdir(),
        *run.glob("*.parquet"),
        *run.glob("*.safetensors"),
        run / "seedbook.json",
        run / "summary.json",
    ]
    before = {path: (path.stat().st_mtime_ns, sha256_of(path)) for path in kept}
    started = time.time()
    again = seedml("study", "smoke", "seeds=0:6", cwd=home)
    assert again.returncode == 0, again.stderr[-2000:]
    assert {path: (path.stat().st_mtime_ns, sha256_of(path)) for path in kept} == before
    assert not [path for path in shards.iterdir() if path.stat().st_mtime > started]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["sampler.steps=3"], "sampler.steps"),
        (["prompts.limit=23"], "prompts"),
        (["noise.initial_seed=5"], "noise.initial_seed"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused_and_nothing_is_touched(home, shards, words, named):
    before = {path: path.stat().st_mtime_ns for path in shards.iterdir()}
    refused = seedml("study", "smoke", "seeds=0:6", *words, cwd=home)
    assert refused.returncode == 2
    assert named in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "Traceback" not in refused.stderr
    assert {path: path.stat().st_mtime_ns for path in shards.iterdir()} == before
