"""The step ``apply``: seed book -> ``applications/<use>.json`` and a sheet of pictures each."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from seedml.applications import diverse_sampling, high_fidelity, noise_swap
from seedml.applications.diverse_sampling import Recipe
from seedml.applications.high_fidelity import Arms
from seedml.applications.holes import hashes_of
from seedml.applications.inpainting_trial import PURPOSE, has_pictures, try_inpainting
from seedml.applications.naming import checkpoint_of, load_namer
from seedml.applications.noise_swap import Followed, Swap
from seedml.applications.sheets import Pixels, contact_sheet, write_sheet
from seedml.applications.studio import Picture, Studio, Trial, as_pixels
from seedml.applications.unseen import unseen_prompts
from seedml.config import named_model, resolved
from seedml.errors import UserError
from seedml.features import load_network
from seedml.files import atomic_write_json, fingerprint, finish_step, read_json, sha256_of, step_is_done
from seedml.lightning import threads
from seedml.measurement import Measurements, load_measurements
from seedml.measurement.results import measured_hashes
from seedml.models.text_to_image import load_text_to_image
from seedml.per_seed.balance import Cube, balanced_cube, table
from seedml.per_seed.frechet import Reference
from seedml.progress import progress_bar
from seedml.provenance import made_from, record_inputs
from seedml.seedbook import Advice, SeedBook
from seedml.selection.diversity import METHODS, mean_distances
from seedml.shards.dataset import complete_dataset
from seedml.summary import update_summary
from seedml.tracking import is_rank_zero

if TYPE_CHECKING:
    from seedml.config import StudyConfig
    from seedml.grid import Tile
    from seedml.prompts import Prompt
    from seedml.shards.dataset import ShardDataset
    from seedml.tracking import Tracker

STEP = "apply"
FOLDER = "applications"
BOOK = "seedbook.json"
SHOWN = 6
"""Prompts on a sheet of pictures: the first, none picked by eye."""
_ROWS = 3
"""Seeds of each kind, or swaps, on a sheet."""


@dataclass(frozen=True)
class Outcome:
    """What an application found.

    Attributes:
        found: the file.
        headline: for the summary and the tracker.
        sheet: pictures.
        lines: for the terminal.
        advice: seeds to use and to avoid for it, for the seed book.

    """

    found: dict[str, Any]
    headline: dict[str, Any]
    sheet: Pixels
    lines: list[str]
    advice: Advice | None = None


class Bench:
    """What all applications of one study share; made when first needed, so that each also runs alone."""

    def __init__(self, config: StudyConfig, dataset: ShardDataset, tiles: Sequence[Tile], book: dict[str, Any]) -> None:
        self.config, self.book, self.dataset = config, book, dataset
        attributes = {*high_fidelity.ATTRIBUTES, *diverse_sampling.ATTRIBUTES}
        self.studio = Studio(config, dataset, tiles, sorted(attributes), _networks(config))

    @cached_property
    def measured(self) -> Measurements:
        """The study's measurements."""
        return load_measurements(self.config.run_dir)

    @cached_property
    def prompts(self) -> list[Prompt]:
        """Held-out prompts."""
        return unseen_prompts(self.config.prompts, self.dataset.prompts, self.config.apply.prompts)

    @cached_property
    def choosing_prompts(self) -> list[Prompt]:
        """Prompts that seeds may be chosen by."""
        return [prompt for prompt in self.dataset.prompts.values() if prompt.split in ("train", "val")]

    @cached_property
    def verdicts(self) -> dict[int, str]:
        """Seed -> verdict."""
        return {int(card["seed"]): str(card["verdict"]) for card in self.book["cards"]}

    @cached_property
    def order(self) -> list[int]:
        """All seeds, best first by FID on the selection prompts."""
        fid = {int(card["seed"]): float(card["scores"]["fid"]["value"]) for card in self.book["cards"]}
        return sorted(fid, key=lambda seed: (fid[seed], seed))

    @cached_property
    def random(self) -> list[int]:
        """The seeds that stand for any seed."""
        generator = np.random.default_rng([self.config.statistics.seed, 6])
        seeds = np.array(sorted(self.verdicts), np.int64)
        return sorted(int(seed) for seed in generator.permutation(seeds)[: self.config.apply.random_seeds])

    def listed(self, kind: str) -> list[int]:
        """Golden or inferior seeds; where none is so beyond doubt, as many of the best or worst."""
        wanted = getattr(self.config.selection, kind)
        best = self.order if kind == "golden" else self.order[::-1]
        return [int(seed) for seed in self.book[kind]] or best[: min(wanted, len(best) // 2)]

    @cached_property
    def pools(self) -> dict[str, list[int]]:
        """Seeds that diverse sets are taken among."""
        return diverse_sampling.pools(self.verdicts, self.order, self.config.apply.diverse)

    @cached_property
    def sets(self) -> dict[Recipe, list[int]]:
        """Diverse sets by every recipe."""
        measured, splits = self.measured, ("train", "val")
        ids = measured.prompts_of(*splits)
        cube = balanced_cube(measured.features, measured.seeds, measured.prompt_ids, measured.seed_list, ids)
        parts = {diverse_sampling.FEATURES: mean_distances(cube.values)}
        columns = {diverse_sampling.POSITION: ["location_x", "location_y"], diverse_sampling.SIZE: ["size"]}
        for name, wanted in columns.items():
            if set(wanted) <= set(measured.columns):
                parts[name] = mean_distances(_columns(measured, wanted, cube))
        seeds = [int(seed) for seed in cube.seeds]
        networks = [name for name in _networks(self.config) if name not in parts]
        if networks:
            known = [prompt for prompt in self.dataset.prompts.values() if prompt.split in splits]
            places = self.studio.places_in_spaces(seeds, known[: self.config.apply.choosing_prompts])
            parts |= {name: mean_distances(places.vectors[name]) for name in networks}
        return diverse_sampling.choose_sets(parts, seeds, self.config.apply, self.pools, METHODS)

    @cached_property
    def trial(self) -> Trial:
        """Pictures of all seeds that an application of this run asks for, on the held-out prompts."""
        chosen: set[int] = set(self.random)
        if "high_fidelity" in self.config.apply.run:
            chosen |= {*self.listed("golden"), *self.listed("inferior")}
        if "diverse_sampling" in self.config.apply.run:
            chosen.update(seed for seeds in self.sets.values() for seed in seeds)
        return self.studio.trial(sorted(chosen), self.prompts, SHOWN)

    @cached_property
    def reference(self) -> Reference:
        """Of the held-out prompts."""
        return self.studio.reference(self.measured, self.trial.prompts)

    def about_prompts(self, prompts: Iterable[Prompt]) -> dict[str, int]:
        """How many, and where they come from."""
        splits = [prompt.split for prompt in prompts]
        return {"n": len(splits), **{name: splits.count(name) for name in sorted(set(splits))}}


def _networks(config: StudyConfig) -> list[str]:
    """The networks among the spaces."""
    spaces = dict.fromkeys(part for space in config.apply.diverse_spaces for part in space.split("+"))
    known = (diverse_sampling.FEATURES, diverse_sampling.POSITION, diverse_sampling.SIZE)
    return [name for name in spaces if name not in known]


def _columns(measured: Measurements, names: Sequence[str], cube: Cube) -> NDArray[np.float64]:
    """Attribute columns of the study on a cube's prompts: ``S × P × C``."""
    seeds, prompts = (measured.images[key].to_numpy(np.int64) for key in ("seed", "prompt_id"))
    tables = [
        table(measured.images[name].to_numpy(np.float64), seeds, prompts, cube.seeds, cube.prompt_ids) for name in names
    ]
    return np.stack(tables, axis=2)


def apply(config: StudyConfig, tracker: Tracker) -> None:
    """Try out every application in ``apply.run``; what is done already is not done again.

    Raises:
        UserError: no seed book yet, images are missing, or results made with other settings are there.

    """
    if not is_rank_zero(os.environ):
        return  # one process does it
    path = config.run_dir / BOOK
    if not path.is_file():
        raise UserError(f"{path} is missing", remedy="run `seedml select` first")
    SeedBook.load(path)  # refuses one that was changed
    dataset, tiles = complete_dataset(config)
    bench = Bench(config, dataset, tiles, read_json(path))
    inputs = {name: _inputs(config, path, name) for name in config.apply.run if _can_run(bench, name)}
    todo = [
        name
        for name, own in inputs.items()
        if not (_done(config, name, _settings(config, dataset, name), own) and _advised(bench.book, name))
    ]
    with threads(config.trainer.threads):
        for name in todo:
            _run(bench, name, inputs[name], tracker)


def check_applications(config: StudyConfig, prompts: Iterable[Prompt]) -> None:
    """Refuse before a study's first image what could not be tried out after its last one.

    Raises:
        UserError: too few prompts are left that have no part in choosing seeds; an unknown network; no such folder.

    """
    unseen_prompts(config.prompts, {prompt.prompt_id: prompt for prompt in prompts}, config.apply.prompts)
    if "diverse_sampling" in config.apply.run:
        for name in _networks(config):
            load_network(name, config.measure.networks.get(name), "apply.diverse_spaces")
    folder = config.apply.inpaint_folder
    if PURPOSE in config.apply.run and folder is not None:
        hashes_of(Path(folder).expanduser())


def _inputs(config: StudyConfig, book: Path, name: str) -> dict[str, str]:
    """What an application is made from: file -> hash."""
    found = measured_hashes(config.run_dir) | {BOOK: _hash_of_book(book)}
    classifier, folder = checkpoint_of(config.run_dir), config.apply.inpaint_folder
    if name == "noise_swap" and classifier is not None:
        found["classifier"] = sha256_of(classifier)
    if name == PURPOSE and folder is not None:
        found["inpaint_folder"] = fingerprint(hashes_of(Path(folder).expanduser()))
    return found


def _hash_of_book(path: Path) -> str:
    """Of what selection says; the time it was written at, and what other steps add, are no reason to run again."""
    others = ("created", "advice", "transfer", "sha256")
    return fingerprint({key: value for key, value in read_json(path).items() if key not in others})


def _can_run(bench: Bench, name: str) -> bool:
    """Whether there is anything to try it on; where not, it is left out, with a line that says why.

    Raises:
        UserError: there is not, and nothing else is asked for.

    """
    why, remedy = _obstacle(bench, name)
    if not why:
        return True
    if len(bench.config.apply.run) == 1:
        raise UserError(f"{name} cannot be tried out: {why}", remedy=remedy)
    print(f"{name} is left out: {why}; {remedy}", file=sys.stderr)
    return False


def _obstacle(bench: Bench, name: str) -> tuple[str, str]:
    """Why an application has nothing to work on, and what to do about it; empty where it has."""
    config, seeds = bench.config, len(bench.verdicts)
    fewest = config.apply.diverse if name == "diverse_sampling" else 2
    if seeds < fewest:
        return f"it takes {fewest} seeds, and there are {seeds}", (
            "lower apply.diverse, or give more seeds=…" if seeds >= 2 else "give more seeds=…"
        )
    if name == "noise_swap" and (config.noise.initial_seed, config.noise.step_seed) != (None, None):
        return ("pictures of this study do not have noise of their own (noise.initial_seed, noise.step_seed)",
                "leave it out of apply.run")  # fmt: skip
    if name == PURPOSE and not has_pictures(config, bench.choosing_prompts, bench.prompts):
        return ("its scenes are rendered for captions of the bundled set alone",
                "give pictures of your own (apply.inpaint_folder=…)")  # fmt: skip
    return "", ""


def _advised(book: Mapping[str, Any], name: str) -> bool:
    """Whether the seed book has what the application has to add; a book that was written anew has not."""
    return name != PURPOSE or PURPOSE in book.get("advice", {})


_KEYS: Mapping[str, tuple[str, ...]] = {
    "high_fidelity": ("prompts", "random_seeds", "best_of"),
    "diverse_sampling": (
        "prompts", "random_seeds", "diverse", "diverse_space", "diverse_method", "diverse_among", "diverse_spaces",
        "choosing_prompts", "distances",
    ),
    "noise_swap": ("prompts", "swap_scheduler", "swap_eta", "swap_steps", "swap_pairs", "swap_prompts"),
    "inpainting": (
        "prompts", "inpaint_model", "inpaint_revision", "inpaint_variant", "inpaint_steps", "inpaint_guidance",
        "inpaint_folder", "inpaint_frame", "inpaint_seeds", "inpaint_pictures", "inpaint_held_out",
    ),
}  # fmt: skip
"""Application -> the keys of ``apply`` that decide its result."""


def _settings(config: StudyConfig, dataset: ShardDataset, name: str) -> dict[str, Any]:
    whole = resolved(config)
    own = {key: whole["apply"][key] for key in _KEYS[name]}
    settings = {"apply": own, "statistics": whole["statistics"], "dataset": dataset.fingerprint}
    return settings | (_named_inpainter(config) if name == "inpainting" else {})


def _named_inpainter(config: StudyConfig) -> dict[str, Any]:
    """What a name of ``configs/models/`` stands for: its file may change. Nothing where it is no name."""
    from seedml.applications.inpainting import inpainting_config

    name = config.apply.inpaint_model
    named = name is not None and named_model(name) is not None
    return {"inpaint_model": asdict(inpainting_config(config).model)} if named else {}


def _done(config: StudyConfig, name: str, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> bool:
    step = f"{STEP}.{name}"
    done = step_is_done(config.run_dir, step, settings)
    return done and made_from(config.run_dir, step, inputs) and _path(config, name).is_file()


def _path(config: StudyConfig, name: str) -> Path:
    return config.run_dir / FOLDER / f"{name}.json"


def _run(bench: Bench, name: str, inputs: Mapping[str, str], tracker: Tracker) -> None:
    config, started = bench.config, time.monotonic()
    outcome = _RUNNERS[name](bench)
    seconds = round(time.monotonic() - started, 3)
    path = _path(config, name)
    write_sheet(path.with_suffix(".png"), outcome.sheet)
    atomic_write_json(path, outcome.found | {"seconds": seconds})
    update_summary(config.run_dir, {**outcome.headline, "seconds": {f"{STEP}.{name}": seconds}})
    tracker.summary({f"{name}/{key}": value for key, value in outcome.headline.items()})
    tracker.image(f"applications/{name}", path.with_suffix(".png"), name.replace("_", " "))
    _tell_table(name, outcome.found, tracker)
    tracker.uses("dataset", "measurements", "classifier", "seedbook")
    tracker.file(path, "application")
    for line in outcome.lines:
        print(line, file=sys.stderr)
    if outcome.advice is not None:
        SeedBook.load(config.run_dir).with_advice(name, outcome.advice).save(config.run_dir / BOOK)
        tracker.file(config.run_dir / BOOK, "seedbook")
    record_inputs(config.run_dir, f"{STEP}.{name}", inputs)
    finish_step(config.run_dir, f"{STEP}.{name}", _settings(config, bench.dataset, name))


def _tell_table(name: str, found: Mapping[str, Any], tracker: Tracker) -> None:
    """Every figure of the result with its limits, one a row."""
    import pandas as pd

    rows = [{"figure": key, **{part: entry.get(part) for part in ("value", "low", "high", "n")}}
            for key, entry in figures_of(found)]  # fmt: skip
    tracker.table(f"applications/{name}", pd.DataFrame(rows))
    for place in found.get("curve", ()):
        numbers = {f"noise_swap/{key}": e["value"] for key, e in place.items() if isinstance(e, Mapping)}
        tracker.log(numbers, step=place["place"] + 1)


def figures_of(found: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Mapping[str, Any]]]:
    """All ``{"value": …}`` in nested mappings with their dotted names."""
    rows: list[tuple[str, Mapping[str, Any]]] = []
    for key, entry in found.items():
        if isinstance(entry, Mapping) and "value" in entry:
            rows.append((f"{prefix}{key}", entry))
        elif isinstance(entry, Mapping):
            rows += figures_of(entry, f"{prefix}{key}.")
    return rows


def _high_fidelity(bench: Bench) -> Outcome:
    trial, config = bench.trial, bench.config
    kinds = {kind: bench.listed(kind) for kind in ("golden", "inferior")}
    golden, inferior, random = (trial.places(seeds) for seeds in (*kinds.values(), bench.random))
    arms = Arms(golden, inferior, random)
    found = high_fidelity.compare(trial, arms, bench.reference, config.statistics, config.apply.best_of)
    found = {
        "prompts": bench.about_prompts(trial.prompts),
        "seeds": {**kinds, "random": bench.random, "golden_beyond_doubt": bool(bench.book["golden"]),
                  "inferior_beyond_doubt": bool(bench.book["inferior"])},
        **found,
    }  # fmt: skip
    some = {kind: seeds[:_ROWS] for kind, seeds in kinds.items()} | {"random": bench.random[:_ROWS]}
    sheet = contact_sheet(high_fidelity.sheet_rows(trial, some), _shown_texts(trial))
    headline = {
        "golden_set_fid_gain": found["fid_of_set"].get("golden_gain"),
        "golden_seed_fid_gain": found["fid_of_seed"].get("golden_gain"),
        "golden_defects_removed": found["defects"].get(high_fidelity.ANY, {}).get("removed"),
        "golden_agreement_gap_closed": found["scores"].get("agreement", {}).get("gap_closed"),
    }
    known = {key: value for key, value in headline.items() if value is not None}
    lines = [f"{words}: {spoken(known[key])}" for key, words in _FIDELITY_WORDS.items() if key in known]
    return Outcome(found, known, sheet, lines)


_FIDELITY_WORDS = {
    "golden_seed_fid_gain": "FID of single golden seeds below that of random seeds by",
    "golden_set_fid_gain": "FID of the golden set's pictures below that of as many random seeds by",
    "golden_defects_removed": "share of border, grayscale and lettering defects that golden seeds leave out",
    "golden_agreement_gap_closed": "share of the way from random seeds to the best picture of each prompt",
}


def _diverse_sampling(bench: Bench) -> Outcome:
    trial, config = bench.trial, bench.config
    _need_sets(bench)
    tables = diverse_sampling.distance_tables(trial)
    results, memory = {}, diverse_sampling.Memory()
    with progress_bar("diverse sets", len(bench.sets), "sets") as bar:
        for recipe, seeds in bench.sets.items():
            pool = set(bench.pools[recipe.among])
            random = {
                diverse_sampling.POOL: trial.places(seed for seed in bench.random if seed in pool),
                diverse_sampling.ANY: trial.places(bench.random),
            }
            figures = diverse_sampling.compare(
                trial, tables, trial.places(seeds), random, bench.reference, config.statistics, memory
            )
            results[recipe.name] = {"seeds": seeds, **figures}
            bar.advance()
    wanted = config.apply
    first = Recipe(wanted.diverse_space, wanted.diverse_method, wanted.diverse_among)
    why_not = diverse_sampling.replaced(first, bench.sets, bench.pools, wanted.diverse)
    headline_of = next(iter(results)) if why_not else first.name
    found = {
        "prompts": bench.about_prompts(trial.prompts), "seeds": {"random": bench.random}, "headline": headline_of,
        **({"headline_wanted": first.name, "headline_why_not": why_not} if why_not else {}), "sets": results,
    }  # fmt: skip
    chosen = results[headline_of]
    sheet = contact_sheet(
        high_fidelity.sheet_rows(trial, {"diverse": chosen["seeds"], "random": bench.random[: len(chosen["seeds"])]}),
        _shown_texts(trial),
    )
    headline = {f"diverse_{name}_gain": chosen[name]["gain"] for name in _DIVERSE_WORDS if name in chosen}
    lines = [f"diverse seeds: {first.name} cannot be made ({why_not}); {headline_of} stands for it"] if why_not else []
    lines += [
        f"diverse seeds against random ones, {words}: {spoken(chosen[name]['gain'])}"
        for name, words in _DIVERSE_WORDS.items()
        if name in chosen
    ]
    if "fid" in chosen:
        headline["diverse_fid_worse"] = chosen["fid"]["worse"]
        lines.append(f"their FID is larger by {spoken(chosen['fid']['worse'])}")
    return Outcome(found, headline, sheet, lines)


_DIVERSE_WORDS = {
    "features": "farther apart (relative)",
    "position": "spread of object positions (relative)",
    "size": "spread of object sizes (relative)",
    "vendi": "Vendi score (relative)",
}


def _need_sets(bench: Bench) -> None:
    if not bench.sets:
        raise UserError(
            "there are too few seeds for a diverse set", given=bench.config.apply.diverse,
            legal=f"2 to {len(bench.order)}", remedy="lower apply.diverse, or give more seeds=…",
        )  # fmt: skip


def _noise_swap(bench: Bench) -> Outcome:
    config = noise_swap.swap_config(bench.config)
    wanted, device = config.apply, bench.studio.device
    generator = np.random.default_rng([config.statistics.seed, 10])
    swaps = noise_swap.plan_swaps(
        list(bench.verdicts), len(bench.prompts), wanted.swap_pairs, wanted.swap_prompts, generator
    )
    followed, pictures, known = _swap(bench, config, swaps, device)
    curve = noise_swap.curve(followed, swaps, config.statistics, known)
    found = {
        "prompts": bench.about_prompts(bench.prompts), "scheduler": wanted.swap_scheduler, "eta": wanted.swap_eta,
        "steps": len(curve) - 2, "pairs": [[swap.first, swap.second] for swap in swaps], "curve": curve,
        "decided_by": noise_swap.decided_by(curve), "classifier": known is not None,
    }  # fmt: skip
    initial = next(place for place in curve if place["place"] == 0)
    headline = {f"swap_initial_noise_{key}": initial[key] for key in ("closeness", "nearer_first", "named_first")
                if key in initial}  # fmt: skip
    lines = [f"with the initial noise of one seed and all step noise of another, {words}: {spoken(initial[key])}"
             for key, words in _SWAP_WORDS.items() if key in initial]  # fmt: skip
    return Outcome(found, headline, contact_sheet(pictures, _place_names(followed.places), cut=24), lines)


_SWAP_WORDS = {
    "nearer_first": "pictures nearer to the first seed's",
    "named_first": "pictures that the classifier takes for the first seed's",
    "named_second": "for the other's",
}


def _swap(
    bench: Bench, config: StudyConfig, swaps: Sequence[Swap], device: torch.device
) -> tuple[Followed, list[tuple[str, list[Picture | None]]], int | None]:
    """Pictures of all swaps at all places: what they are like, and some of them for a sheet."""
    namer = load_namer(config)
    model = load_text_to_image(config, device)
    embeddings = model.embed([prompt.text for prompt in bench.prompts])
    features: dict[int, list[Any]] = {}
    named: dict[int, list[Any]] = {}
    rows: list[tuple[str, list[Picture | None]]] = [
        (f"{swap.first}, then {swap.second}\n{bench.prompts[swap.row].text[:20]}", []) for swap in swaps[:SHOWN]
    ]
    size = config.sampler.batch_size
    with progress_bar("noise swap", len(swaps), "swaps") as bar:
        for start in range(0, len(swaps), size):
            some = swaps[start : start + size]
            ways = noise_swap.swapped_pictures(
                model, embeddings, some, config.noise.generator_device, config.apply.swap_eta
            )
            for place, images in ways:
                features.setdefault(place, []).append(bench.studio.module.embed(images.to(device)).cpu().numpy())
                if namer is not None:
                    named.setdefault(place, []).append(namer(images))
                if start == 0:
                    for (_, row), image in zip(rows, images, strict=False):
                        row.append(as_pixels(image))
            bar.advance(len(some))
    places = sorted(features)
    names = np.stack([np.concatenate(named[place]) for place in places]) if named else None
    vectors = np.stack([np.concatenate(features[place]) for place in places])
    return Followed(places, vectors, names), rows, len(namer.seeds) if namer is not None else None


def _inpainting(bench: Bench) -> Outcome:
    config = bench.config
    generator = np.random.default_rng([config.statistics.seed, 11])
    drawn = generator.permutation(np.array(sorted(bench.verdicts), np.int64))[: config.apply.inpaint_seeds]
    tried = try_inpainting(config, bench.choosing_prompts, bench.prompts, np.sort(drawn).tolist(), bench.studio.device)
    lines = [f"{words}: {spoken(tried.headline[key])}" for key, words in _INPAINTING_WORDS.items()
             if key in tried.headline]  # fmt: skip
    lines += [f"seeds to {kind} for inpainting: {', '.join(map(str, tried.found[kind])) or 'none beyond doubt'}"
              for kind in ("use", "avoid")]  # fmt: skip
    return Outcome(tried.found, tried.headline, tried.sheet, lines, tried.advice)


_INPAINTING_WORDS = {
    "inpainting_text_removal": "pictures with letters where an object was removed",
    "inpainting_text_outpainting": "pictures with letters in the outpainted frame",
    "inpainting_text_worst_seed": "of the worst seed, on other pictures",
    "inpainting_artifacts_removed": "share of letters and frames that goes with the avoided seeds, on other pictures",
}


def _place_names(places: Sequence[int]) -> list[str]:
    last = max(places)
    special = {noise_swap.WHOLLY_SECOND: "all noise: second", last: "all noise: first"}
    return [special.get(place, f"second from step {place + 1}") for place in places]


def _shown_texts(trial: Trial) -> list[str]:
    shown = {prompt_id for _, prompt_id in trial.pictures}
    return [prompt.text for prompt in trial.prompts if prompt.prompt_id in shown]


def spoken(entry: Mapping[str, Any]) -> str:
    """A figure with its limits, for the terminal."""
    limits = f" ({entry['low']:.3g} to {entry['high']:.3g})" if "low" in entry and "high" in entry else ""
    return f"{entry['value']:.3g}{limits}"


_RUNNERS: Mapping[str, Callable[[Bench], Outcome]] = {
    "high_fidelity": _high_fidelity,
    "diverse_sampling": _diverse_sampling,
    "noise_swap": _noise_swap,
    "inpainting": _inpainting,
}
