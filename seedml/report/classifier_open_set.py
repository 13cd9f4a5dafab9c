"""Probabilities, unseen seeds and where the classifier looks, on the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from seedml.report import galleries
from seedml.report.charts import Axis, Line, line_chart
from seedml.report.galleries import Frame, GridRow, PictureGrid
from seedml.report.inputs import Run
from seedml.report.numbers import Estimate, estimate, finite, interval, percent, text
from seedml.report.pictures import QUALITY, CellKey, Picture

if TYPE_CHECKING:
    from PIL import Image

DIM = 0.35
"""Brightness that is left where a map is 0."""


class OpenSet(NamedTuple):
    """Sentences, and the curve of refusals."""

    findings: tuple[str, ...]
    curve: Markup


class AttentionPart(NamedTuple):
    """Sentences, and pictures lit where the classifier looks."""

    findings: tuple[str, ...]
    grids: tuple[PictureGrid, ...]


def open_set_part(run: Run) -> OpenSet | None:
    """What is known of probabilities and of unseen seeds; ``None`` where nothing is."""
    metrics = run.classifier or {}
    found, calibration = metrics.get("open_set", {}), metrics.get("calibration", {})
    findings = (*_unseen(run, found), *_calibration(calibration))
    return OpenSet(findings, _curve(found)) if findings else None


def _unseen(run: Run, found: Mapping[str, Any]) -> Iterator[str]:
    if found.get("left_out"):
        yield f"Unseen seeds were left out: {found['left_out']}."
    area, refused, falsely = (estimate(found.get(key)) for key in ("auroc", "unseen_refused", "known_refused"))
    if area is None or refused is None or falsely is None:
        return
    chance = finite(found["unseen_refused"].get("chance"))
    yield (
        f"Asked about pictures of {found['unseen_seeds']} seeds that it never saw, made from {found['prompts']} "
        f"held-out prompts, it tells them from known ones with an area under the curve of {text(area.value, 3)} "
        f"({run.confidence} interval {interval(area, decimals=3)}; 0.5 is guessing)."
    )
    yield (
        f"It calls {_share(refused)} of them “none of the known ones”, and {_share(falsely)} of the known ones on the "
        f"same prompts; the limit was set on validation prompts for {percent(chance)}, which is also what a score that "
        "knows nothing would refuse of both."
    )
    remade = estimate(found.get("remade"))
    if remade is not None:
        yield f"Of known seeds’ pictures made again beside them it names {_share(remade)} right."


def _share(entry: Estimate) -> str:
    count = "" if entry.n is None else f", n\u00a0=\u00a0{text(entry.n, 0)}"
    return (
        f"{percent(entry.value)} ({interval(entry, share=True)}{count})" if entry.has_interval else percent(entry.value)
    )


def _calibration(found: Mapping[str, Any]) -> Iterator[str]:
    error, accuracy, mean = (estimate(found.get(key)) for key in ("error", "accuracy", "mean_probability"))
    if error is None or accuracy is None or mean is None:
        return
    usual, most = (finite(found["error"].get(key)) for key in ("chance", "chance_high"))
    verdict = "" if usual is None or most is None else (
        f"; {text(usual, 4)} is usual where every probability is right, and {text(most, 4)} is rare"
    )  # fmt: skip
    yield (
        f"Its probabilities, scaled on validation prompts, average {percent(mean.value)} on held-out ones, where "
        f"{percent(accuracy.value)} are right (calibration error {text(error.value, 4)}{verdict}; "
        f"n\u00a0=\u00a0{text(error.n, 0)})."
    )


def _curve(found: Mapping[str, Any]) -> Markup:
    points = [(100 * known, 100 * unseen) for known, unseen in found.get("roc", ())]
    if not points:
        return Markup("")
    few = points[:10] + points[10::5]  # the start matters, and each point is a mark
    lines = [
        Line("this classifier", "validation", few),
        Line("guessing", "training", [(0.0, 0.0), (100.0, 100.0)]),
    ]
    return line_chart(
        lines, Axis("known pictures refused, %", 0.0, 100.0), Axis("unseen seeds’ pictures refused, %", 0.0, 104.0),
        "Share of unseen seeds' pictures that are refused by the share of known ones that are.",
    )  # fmt: skip


def attention_part(run: Run, pictures: Mapping[CellKey, Picture]) -> AttentionPart | None:
    """Where it looks, for the seeds compared above; ``None`` where no maps were made."""
    found = (run.classifier or {}).get("grad_cam", {})
    findings = tuple(_hiding(found))
    if not findings:
        return None
    best, worst = galleries.best_and_worst(run)
    names = (
        ("Golden seeds" if run.chosen("golden") else "Seeds with the lowest FID", best),
        ("Inferior seeds" if run.chosen("inferior") else "Seeds with the highest FID", worst),
    )
    grids = [_grid(run, pictures, seeds, name) for name, seeds in names]
    return AttentionPart(findings, tuple(grid for grid in grids if grid is not None))


def _hiding(found: Mapping[str, Any]) -> Iterator[str]:
    own, other, least = (estimate(found.get(key)) for key in ("most", "by_chance", "least"))
    if own is None or other is None or least is None:
        return
    part = percent(finite(found.get("hidden")), 0)
    yield (
        f"Pictures are lit where the network looks ({found.get('method')} of {found.get('layer')}, "
        f"{' × '.join(map(str, found.get('cells', ())))} cells). Hiding the brightest {part} leaves {_share(own)} of "
        f"pictures recognised; hiding what the map of another seed’s picture marks leaves {_share(other)}, and hiding "
        f"the darkest {part} {_share(least)}."
    )


def _grid(run: Run, pictures: Mapping[CellKey, Picture], seeds: Sequence[int], caption: str) -> PictureGrid | None:
    """A row a seed: its mean map over the mean picture, then its pictures of the prompts shown, lit."""
    if run.attention is None or not pictures:
        return None
    maps = _Maps(run.attention)
    prompts = [p for p in galleries.prompts_shown(run) if any((seed, p) in maps.of_picture for seed in seeds)]
    rows = [row for seed in seeds if (row := _row(run, pictures, maps, seed, prompts)) is not None]
    texts = galleries.prompt_texts(pictures)
    headings = ("mean over the seed’s pictures", *(texts.get(prompt, f"prompt {prompt}") for prompt in prompts))
    return PictureGrid(f"{caption}: where the classifier looks", headings, tuple(rows)) if rows else None


class _Maps:
    """The maps of ``grad_cam.safetensors`` by what they are of."""

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        cells = zip(arrays["picture_seeds"].tolist(), arrays["picture_prompt_ids"].tolist(), strict=True)
        self.of_picture: dict[CellKey, NDArray[Any]] = dict(zip(cells, arrays["picture_maps"], strict=True))
        self.of_seed: dict[int, NDArray[Any]] = dict(zip(arrays["seeds"].tolist(), arrays["seed_maps"], strict=True))


def _row(
    run: Run, pictures: Mapping[CellKey, Picture], maps: _Maps, seed: int, prompts: Sequence[int]
) -> GridRow | None:
    found = {p: pictures[seed, p] for p in prompts if (seed, p) in maps.of_picture and (seed, p) in pictures}
    if not found or seed not in maps.of_seed:
        return None
    mean = lit(_mean_picture(list(found.values())), maps.of_seed[seed])
    frames = [Frame(mean, f"Seed {seed}: mean map over the mean picture")]
    for prompt in prompts:
        picture = lit(found[prompt], maps.of_picture[seed, prompt]) if prompt in found else None
        frames.append(Frame(picture, f"Seed {seed}: where the classifier looks, prompt {prompt}"))
    row = run.row(seed)
    return GridRow(seed, row.verdict if row else "inconclusive", "", tuple(frames))


def lit(picture: Picture, cells: NDArray[Any]) -> Picture:
    """The picture, dimmed where a map is low: C × C, any unit, enlarged smoothly to the picture."""
    from PIL import Image

    level = cells.astype(np.float32)
    level = (level - level.min()) / max(float(np.ptp(level)), 1e-6)
    size = (picture.width, picture.height)
    light = np.asarray(Image.fromarray(level).resize(size, Image.Resampling.BICUBIC)).clip(0, 1)[:, :, None]
    pixels = np.asarray(_opened(picture)) * (DIM + (1 - DIM) * light)
    return _embedded(pixels.astype(np.float32), picture.prompt)


def _mean_picture(pictures: Sequence[Picture]) -> Picture:
    same = [
        picture for picture in pictures if (picture.width, picture.height) == (pictures[0].width, pictures[0].height)
    ]
    stacked = np.stack([np.asarray(_opened(picture), np.float32) for picture in same])
    return _embedded(stacked.mean(0, dtype=np.float32), "")


def _opened(picture: Picture) -> Image.Image:
    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(picture.uri.partition(",")[2]))).convert("RGB")


def _embedded(pixels: NDArray[np.float32], prompt: str) -> Picture:
    """H × W × 3, 0..255."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8)).save(buffer, "WEBP", quality=QUALITY, method=4)
    uri = "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
    return Picture(uri, pixels.shape[1], pixels.shape[0], prompt)
