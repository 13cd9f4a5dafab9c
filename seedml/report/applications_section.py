"""What the chosen seeds are good for: the figures of the step ``apply``, each beside what random seeds give."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from seedml.report.charts import Axis, Band, Line, line_chart
from seedml.report.inpainting_section import HEADINGS, inpainting_findings, inpainting_rows
from seedml.report.inputs import Run
from seedml.report.numbers import ABSENT, Estimate, estimate, interval, percent, shown

_QUALITY = 70
"""WebP quality of a sheet, 0..100."""
_SPACES = {
    "features": "feature distance", "style": "style distance", "layout": "layout distance",
    "object_layout": "distance of object masks", "position": "distance of object centres",
    "size": "difference of object sizes", "vendi": "Vendi score",
}  # fmt: skip
_DEFECTS = {"border": "with a border", "grayscale": "grayscale", "lettering": "with lettering", "any": "any of these"}


class Table(NamedTuple):
    """A small table: headings, and rows of words."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


class ApplicationPart(NamedTuple):
    """One application: its words, its tables, its chart and its sheet of pictures (a data URI, or empty)."""

    anchor: str
    title: str
    findings: tuple[str, ...]
    tables: tuple[Table, ...]
    chart_title: str
    chart: Markup
    sheet: str
    sheet_words: str


def application_sections(run: Run) -> tuple[ApplicationPart, ...]:
    """Those that were tried out, in reading order."""
    makers = {
        "high_fidelity": _high_fidelity, "diverse_sampling": _diverse, "noise_swap": _noise_swap,
        "inpainting": _inpainting,
    }  # fmt: skip
    return tuple(make(run, run.applications[name]) for name, make in makers.items() if name in run.applications)


def _words(entry: object, *, share: bool = False) -> str:
    found = estimate(entry)
    if found is None:
        return ABSENT
    bounds = f" ({interval(found, share=share)})" if found.has_interval else ""
    return f"{shown(found, share=share)}{bounds}"


def _prompts(found: Mapping[str, Any]) -> str:
    about = found["prompts"]
    parts = {"test": "of the study’s test split", "unused": "that the study had not used"}
    listed = " and ".join(f"{about[key]} {words}" for key, words in parts.items() if about.get(key))
    return f"On {about['n']} prompts that had no part in choosing: {listed}."


def _sheet(run: Run, name: str) -> str:
    """The sheet of pictures as WebP in a data URI; empty without one."""
    from PIL import Image

    path = run.application_sheets.get(name)
    if path is None:
        return ""
    buffer = io.BytesIO()
    with Image.open(path) as opened:
        opened.convert("RGB").save(buffer, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _high_fidelity(run: Run, found: Mapping[str, Any]) -> ApplicationPart:
    seeds, of_set, of_seed = found["seeds"], found["fid_of_set"], found["fid_of_seed"]
    k, random = len(seeds["golden"]), len(seeds["random"])
    who = "Golden" if seeds["golden_beyond_doubt"] else "No seed is golden beyond doubt; the best"
    findings = [
        _prompts(found),
        f"{who} seeds {', '.join(map(str, seeds['golden']))} against {random} seeds drawn at random.",
    ]
    findings += _gains(of_seed.get("golden_gain"), of_set)
    for name, words in (("agreement", "caption agreement"), ("clean", "pictures without a defect")):
        score = found["scores"].get(name, {})
        if "gap_closed" in score:
            findings.append(
                f"In {words} they go {_words(score['gap_closed'], share=True)} of the way from a random picture to "
                f"the best of {score['k']} of each prompt."
            )
    headings = ("", "golden", "random", "inferior")
    rows = [
        ("FID of one seed’s pictures, mean", *(_words(of_seed.get(arm)) for arm in headings[1:])),
        (f"FID of the pictures of {k} seeds together", _words(of_set.get("golden")),
         _words(of_set.get("random_beside_golden")), _words(of_set.get("inferior"))),
    ]  # fmt: skip
    if "any_seed" in of_set:
        rows.append(("the same, another seed for every picture", ABSENT, _words(of_set["any_seed"]), ABSENT))
    rows += [(name, *(_words(entry.get(arm), share=share) for arm in headings[1:]))
             for name, entry, share in _scores(found)]  # fmt: skip
    return ApplicationPart(
        "high-fidelity", "High-fidelity inference: golden seeds alone", tuple(findings),
        (Table(headings, tuple(rows)), _removed(found)), "", Markup(""), _sheet(run, "high_fidelity"),
        "A row is a seed, a column a held-out prompt.",
    )  # fmt: skip


def _gains(of_seed: object, of_set: Mapping[str, Any]) -> list[str]:
    lines = []
    if of_seed is not None:
        lines.append(f"FID of a single golden seed is lower than that of a random one by {_words(of_seed)}.")
    if "golden_gain" in of_set:
        chance = of_set["golden_chance"]
        lines.append(
            f"FID of all their pictures together is lower than that of as many random seeds by "
            f"{_words(of_set['golden_gain'])}; {chance['sets_as_good']} of {chance['sets']} random sets are as good."
        )
    return lines


def _scores(found: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any], bool]]:
    scores = found["scores"]
    rows = [("caption agreement", scores["agreement"], False)] if "agreement" in scores else []
    shares = [(f"pictures {words}", found["defects"][name], True)
              for name, words in _DEFECTS.items() if name in found["defects"]]  # fmt: skip
    return [*rows, *shares]


def _removed(found: Mapping[str, Any]) -> Table:
    """How much of each defect golden seeds leave out; of defects that random seeds hardly have, nothing can be told."""
    rows = tuple(
        (words, _words(found["defects"][name]["removed"], share=True))
        for name, words in _DEFECTS.items()
        if found["defects"].get(name, {}).get("removed", {}).get("low", -np.inf) > -1
    )
    return Table(("pictures", "share that golden seeds leave out"), rows)


def _diverse(run: Run, found: Mapping[str, Any]) -> ApplicationPart:
    name = found["headline"]
    chosen = found["sets"][name]
    space, method, among = name.split(".")
    findings = [
        _prompts(found),
        f"Seeds {', '.join(map(str, chosen['seeds']))}: {method.replace('_', ' ')} of {space}, among the seeds that "
        f"are {among.replace('_', ' ')}, against random seeds of the same kind and of any "
        f"({len(found['seeds']['random'])}). {_which_set(found)}",
    ]
    if "fid" in chosen:
        worse = chosen["fid"]
        findings.append(
            f"FID of the set’s pictures is larger than that of random sets of any kind by {_words(worse['worse'])}, "
            f"of the same kind by {_words(worse.get('worse_than_pool'))}."
        )
    kinds = ("set", "pool", "any")
    rows = [
        (words, *(_words(chosen[key].get(kind)) for kind in kinds), _words(chosen[key].get("gain"), share=True),
         _words(chosen[key].get("gain_over_any"), share=True))
        for key, words in _named_spaces(chosen)
    ]  # fmt: skip
    headings = ("of pictures of one prompt", "diverse", "random, same kind", "random, any", "gain", "gain over any")
    return ApplicationPart(
        "diverse-sampling", "Diversified sampling: seeds that are far apart", tuple(findings),
        (Table(headings, tuple(rows)), _other_sets(found)), "", Markup(""), _sheet(run, "diverse_sampling"),
        "A row is a seed, a column a held-out prompt; the diverse seeds first, then random ones.",
    )  # fmt: skip


def _which_set(found: Mapping[str, Any]) -> str:
    """Whether the set in front is the one that the configuration named."""
    if "headline_wanted" not in found:
        return "Which set stands here was fixed before; the others are below."
    return (
        f"This is not the set that was fixed before, {_set_words(found['headline_wanted'])}: it could not be made, as "
        f"{found['headline_why_not']}. The first of those that could stands here; the others are below."
    )


def _set_words(name: str) -> str:
    return name.replace(".", ", ").replace("_", " ")


def _named_spaces(chosen: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Keys of what variety was told by, in reading order, with their words; a user's own by their own names."""
    measured = [key for key, entry in chosen.items() if isinstance(entry, Mapping) and key != "fid"]
    order = [*(key for key in _SPACES if key in measured), *(key for key in measured if key not in _SPACES)]
    return [(key, _SPACES.get(key, key)) for key in order]


def _other_sets(found: Mapping[str, Any]) -> Table:
    """Every set, one a row: relative gains over random seeds of the same kind."""
    keys = ("features", "position", "vendi")
    rows = tuple(
        (_set_words(label),
         *(_words(entry.get(key, {}).get("gain"), share=True) for key in keys),
         _words(entry.get("fid", {}).get("worse")))
        for label, entry in found["sets"].items()
    )  # fmt: skip
    return Table(("set", *(f"gain in {_SPACES[key]}" for key in keys), "FID larger than any by"), rows)


def _noise_swap(run: Run, found: Mapping[str, Any]) -> ApplicationPart:
    curve = found["curve"]
    findings = [
        _prompts(found),
        f"{len(found['pairs'])} pictures of pairs of seeds, {found['scheduler']}, {found['steps']} steps: the first "
        "seed’s noise up to a step, the second’s from there on.",
        _decision(found),
    ]
    headings = ("second seed’s noise", "nearer to the first", "named first", "named second", "named another")
    keys = ("nearer_first", "named_first", "named_second", "named_other")
    used = [at for at, key in enumerate(keys) if key in curve[0]]
    rows = tuple(
        (_place(place["place"], found["steps"]), *(_words(place[keys[at]], share=True) for at in used))
        for place in curve
    )
    table = Table((headings[0], *(headings[1 + at] for at in used)), rows)
    chance = [_chance(curve[0][keys[at]]) for at in used if keys[at] == "named_first"]
    findings += [f"Naming a seed by guessing is right in {words}." for words in chance]
    return ApplicationPart(
        "noise-swap", "Noise swap: which noise decides the picture?", tuple(findings), (table,),
        "What the picture follows, by the step from which on the noise is the second seed’s", _swap_chart(found),
        _sheet(run, "noise_swap"), "A row is a pair of seeds and a prompt.",
    )  # fmt: skip


def _inpainting(run: Run, found: Mapping[str, Any]) -> ApplicationPart:
    return ApplicationPart(
        "inpainting", "Inpainting: which seeds write letters into the mask?", inpainting_findings(found),
        (Table(HEADINGS, inpainting_rows(found)),), "", Markup(""), _sheet(run, "inpainting"),
        "The first row has the masks; the others are seeds, on the first pictures that had no part in choosing.",
    )  # fmt: skip


def _chance(entry: Mapping[str, Any]) -> str:
    return percent(entry["chance"])


def _decision(found: Mapping[str, Any]) -> str:
    by = found["decided_by"]
    if by is None:
        return "At no step but the last is the picture surely nearer to the first seed’s."
    if by == 0:
        return (
            "The initial noise alone decides: with all step noise of the other seed, pictures stay nearer to the first."
        )
    return f"The picture is surely the first seed’s once {by} of {found['steps']} steps had its noise."


def _place(place: int, steps: int) -> str:
    if place < 0:
        return "all, the initial too"
    return "none" if place == steps else f"from step {place + 1} of {steps} on"


def _swap_chart(found: Mapping[str, Any]) -> Markup:
    names = {
        "nearer_first": ("nearer to the first seed’s", "validation"),
        "named_first": ("named the first", "training"),
    }
    lines = [
        Line(words, kind, points, bounds)
        for key, (words, kind) in names.items()
        for points, bounds in [_line(found["curve"], key)]
        if points
    ]
    if not lines:
        return Markup("")
    x = Axis("step from which on noise is the second’s (0: all of it, initial too)", 0.0, float(found["steps"] + 1))
    return line_chart(
        lines, x, Axis("% of pictures", 0.0, 104.0), "Share of pictures that follow the first seed, by the step of "
        "the swap.", [Band("even", 50, 50)],
    )  # fmt: skip


def _line(curve: Sequence[Mapping[str, Any]], key: str) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    entries = [(float(place["place"] + 1), estimate(place.get(key))) for place in curve]
    known: list[tuple[float, Estimate]] = [(x, entry) for x, entry in entries if entry is not None]
    bounds = [(100 * (e.low if e.low is not None else e.value), 100 * (e.high if e.high is not None else e.value))
              for _, e in known]  # fmt: skip
    return [(x, 100 * entry.value) for x, entry in known], bounds
