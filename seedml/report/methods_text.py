"""The methods in prose, to copy into a text, and what each word and column of the page means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from seedml.report.inputs import Run
from seedml.report.numbers import text
from seedml.report.vocabulary import wording


class Definition(NamedTuple):
    """What a word or a column means, and of how many pictures it was read, where it is read of pictures."""

    term: str
    meaning: str
    n: str = ""


def words(run: Run) -> tuple[Definition, ...]:
    """Words that the page uses in a sense of its own."""
    level = f"{1 - run.level:g}"
    return (
        Definition("golden", "On the selection prompts, its FID is below that of the average seed beyond doubt."),
        Definition("inferior", "On the selection prompts, it is above that of the average seed beyond doubt."),
        Definition("inconclusive", "The study cannot tell. That is not “average”."),
        Definition("beyond doubt", f"The q-value is at most {level}: luck is expected to account for no larger a "
                   "share of all seeds that are called so (Benjamini and Hochberg)."),
        Definition("interval", f"Covers {run.confidence} and is over prompts: it says how much the number would move "
                   "with other prompts of the same kind."),
        Definition("FID", "Fréchet distance between the features of a seed’s pictures and those of the reference set, "
                   "‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2(Σ₁Σ₂)^½). Lower is closer."),
        Definition("held-out", "Prompts of the test split, which had no part in training or choosing anything."),
    )  # fmt: skip


def columns(run: Run) -> tuple[Definition, ...]:
    """What each attribute is, and in how many pictures it was read."""
    return tuple(
        Definition(told.title, told.reading, _read_in(run, attribute.column))
        for attribute in run.attributes
        if (told := wording(attribute.column, attribute.share))
    )


def _read_in(run: Run, column: str) -> str:
    """``10 240``, or ``10 180; not in 60``: pictures that have a number, and those that were made but have none."""
    if run.images is None or column not in run.images.columns:
        return ""
    made = run.images.loc[run.images["status"] == "ok", column]
    without = int(made.isna().sum())
    return f"{text(len(made) - without, 0)}{f'; not in {text(without, 0)}' if without else ''}"


def methods_paragraph(run: Run) -> str:
    """How the study was made and read, for the methods section of a text; what is not there yet is left out."""
    makers = (_made, _measured, _tested, _chosen, _software)
    return " ".join(sentence for make in makers if (sentence := make(run)))


def _made(run: Run) -> str:
    counts = [run.figure(key) for key in ("images", "seeds", "prompts")]
    if None in counts:
        return ""
    images, seeds, prompts = (text(count.value, 0) for count in counts if count)
    device = run.settings.get("noise", {}).get("generator_device", "cpu")
    failed = failed_images(run)
    lost = f"{text(failed, 0)} could not be made and are left out" if failed else "none failed"
    return (
        f"{images} pictures ({seeds} seeds × {prompts} prompts{_splits(run)}) were made with {_model(run)}, the noise "
        f"of each by its own {device} generator started from the seed; {lost}."
    )


def _model(run: Run) -> str:
    """The model and how it was run: ``seedling (128 × 128 px, 4 steps, guidance scale 1.0, DDIMScheduler)``."""
    model = {**run.settings.get("model", {}), **run.model}
    chosen = {key: value for key, value in run.settings.get("sampler", {}).items() if value is not None}
    used = {**run.settings.get("model", {}), **chosen, **run.model}
    name = str(model.get("name") or model.get("path") or "an unnamed model")
    how = [f"{used['width']} × {used['height']} px"] if used.get("width") and used.get("height") else []
    for key, phrase in (("steps", "{} steps"), ("guidance_scale", "guidance scale {}"), ("scheduler", "{}")):
        how += [phrase.format(used[key])] if used.get(key) is not None else []
    how += [f"revision {model['revision']}"] if model.get("revision") else []
    return f"{name} ({', '.join(how)})" if how else name


def _splits(run: Run) -> str:
    if run.images is None:
        return ""
    counts = run.images.groupby("split")["prompt_id"].nunique()
    named = [f"{text(int(counts[split]), 0)} {split}" for split in ("train", "val", "test") if split in counts]
    return f": {', '.join(named)}" if named else ""


def _measured(run: Run) -> str:
    counts = {row.n for row in run.seeds if row.n is not None}
    if not counts:
        return ""
    network = run.settings.get("measure", {}).get("features", "unknown")
    few = f"{text(counts.pop(), 0)} pictures" if len(counts) == 1 else "pictures (unequal numbers)"
    return (
        f"FID of a seed is the Fréchet distance between the “{network}” features of its {few} and those of the "
        f"reference ({reference(run)}), comparable within this study only; intervals ({run.confidence}) are over "
        f"prompts (jackknife for FID, bootstrap for means, Wilson for shares)."
    )


def _tested(run: Run) -> str:
    shuffles = run.settings.get("statistics", {}).get("permutations")
    if not shuffles or run.figure("fid_spread_null_p") is None:
        return ""
    return (
        f"Whether seeds differ was tested by {text(shuffles, 0)} shuffles of the seed labels within each prompt, and "
        f"single seeds against the average seed with the Benjamini-Hochberg procedure at {1 - run.level:g}."
    )


def _chosen(run: Run) -> str:
    if run.seedbook is None:
        return ""
    golden, inferior = (len(run.chosen(kind)) for kind in ("golden", "inferior"))
    return (
        f"{golden or 'No'} golden and {inferior or 'no'} inferior seeds were chosen on training and validation prompts "
        f"and confirmed on test prompts."
    )


def _software(run: Run) -> str:
    found = run.summary.get("versions")
    listed = sorted(found.items()) if isinstance(found, Mapping) else []
    versions = ", ".join(f"{name} {version}" for name, version in listed)
    device = f" on {run.summary['device']}" if run.summary.get("device") else ""
    return f"Software: {versions}{device}." if versions else ""


def reference(run: Run) -> str:
    """What the reference set is, in the words of its file or else of the settings."""
    reference = run.settings.get("reference", {})
    per_prompt = reference.get("images_per_prompt")
    configured = f"{reference.get('set', 'unknown')}{f', {per_prompt} a prompt' if per_prompt else ''}"
    return run.reference_notes.get("source") or configured


def failed_images(run: Run) -> int:
    """Cells whose picture could not be made."""
    return 0 if run.images is None else int((run.images["status"] != "ok").sum())
