"""Where the object is: by the scene parser's mask, by what stands out, or by a detector told the prompt's noun."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedml.attributes import Attribute, AttributeBatch
from seedml.hub import load_transformer

TAIL = 0.01
"""Share of the foreground that may lie outside its box on either side of each axis: specks are no object."""
DISTINCT = 0.70
"""Otsu's threshold has to explain this share of the saliency's variance; else there is no object to speak of."""
WIDEST = 0.6
"""What covers more of the picture than this is no object in front of something."""
RIM = 0.1
"""Strip along each side whose colours are the background's, as a fraction of the side."""
DETECTED, GROUNDED = 0.1, 0.25
"""The best box counts from this score on: the defaults of OWLv2 and of Grounding DINO."""
AT_ONCE = 8
"""Pictures that go through a detector together, whatever the batch: at 960 pixels they need much memory."""

_SIDE = 64
_BINS = 64
_OPENINGS = re.compile(
    r"^(an?|the|one)?\s*((close[- ]?up|photo(graph)?|picture|image|painting|drawing|portrait|sketch|scene|view)"
    r"\s+(of|with)\s+)?(an?|the|one|two|three|some|several)?\s+", re.IGNORECASE,
)  # fmt: skip
_AFTER = re.compile(
    r"[,.;:!?()]|\s(on|in|at|with|by|near|under|over|above|below|behind|beside|next|inside|outside|of|from|to|that|which|"
    r"who|and|is|are|was|standing|sitting|lying|running|flying|riding|holding|wearing)\s", re.IGNORECASE,
)  # fmt: skip


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Centre of the object's box.

    ``location_x``, ``location_y``: fractions of the width from the left and of the height from the top, 0..1; NaN where
    there is no object to speak of. Source: :func:`object_boxes`.
    """
    return centres(object_boxes(batch))


def object_boxes(batch: AttributeBatch) -> Tensor:
    """The box around the object: ``N × 4`` float32, left, top, right, bottom, fractions of the sides; NaN = no object.

    In seedling's world the box of the parser's mask (``models/bundled/layout.py``). Of other pictures, the box of all
    that stands out from the colours along the rim (:func:`foreground`), be it one thing or several.
    """
    if batch.reading is None:
        return foreground_boxes(batch.images)
    from seedml.models.bundled.layout import object_boxes as of_mask  # loaded only where seedling's world is meant

    return of_mask(batch.reading)


def centres(boxes: Tensor) -> dict[str, Tensor]:
    """Boxes ``N × 4`` -> this attribute's columns."""
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2).unbind(1)
    return {"location_x": x, "location_y": y}


def foreground_boxes(images: Tensor) -> Tensor:
    """``N × 3 × H × W`` uint8 -> ``N × 4``: the box that holds the foreground but for :data:`TAIL` at each end."""
    mask, clear = foreground(images)
    left, right = _middle(mask.sum(1))
    top, bottom = _middle(mask.sum(2))
    boxes = torch.stack([left, top, right, bottom], 1)
    return boxes.masked_fill(~clear[:, None], torch.nan)


def _middle(mass: Tensor) -> tuple[Tensor, Tensor]:
    """Where the running total of ``N × L`` reaches :data:`TAIL` and its complement: ``N`` each, fractions of L."""
    total = mass.cumsum(1) / mass.sum(1, keepdim=True).clamp(min=1e-6)
    before, after = (total < TAIL).sum(1), (total < 1 - TAIL).sum(1) + 1
    return before / mass.shape[1], (after / mass.shape[1]).clamp(max=1)


def foreground(images: Tensor) -> tuple[Tensor, Tensor]:
    """What stands out from the background, and whether anything does. Needs no download.

    Each side's strip of the picture is a background: a pixel's saliency is the sum of its Mahalanobis distances in
    colour from the four, without the largest (an object may touch one side). It is then cut at Otsu's threshold.
    Source: the extension of Zhang et al., Minimum Barrier Salient Object Detection at 80 FPS, ICCV 2015, section 3.3;
    Otsu 1979. Constants are ours.

    Args:
        images: ``N × 3 × H × W`` uint8.

    Returns:
        ``N × h × w`` float32, 0 or 1, of the picture averaged to 64 pixels a side at most; and ``N`` bool: the two
        classes are far enough apart (:data:`DISTINCT`), and the foreground is not most of the picture.

    """
    side = (min(_SIDE, images.shape[2]), min(_SIDE, images.shape[3]))
    pixels = F.adaptive_avg_pool2d(images.float(), side)
    strips = [max(1, round(RIM * length)) for length in side]
    upright, lying = pixels, pixels.mT
    sides = [turned[:, :, part] for turned, strip in ((upright, strips[0]), (lying, strips[1]))
             for part in (slice(strip), slice(-strip, None))]  # fmt: skip
    distances = torch.stack([_distance(pixels, background.flatten(2)) for background in sides])
    saliency = distances.sum(0) - distances.amax(0)
    saliency = F.avg_pool2d(F.pad(saliency[:, None], (1, 1, 1, 1), mode="replicate"), 3, 1)[:, 0]
    mask, explained = _otsu(saliency)
    covered = mask.mean((1, 2))
    varied = pixels.flatten(2).std(2, correction=0).amax(1) >= 2
    return mask, varied & (explained >= DISTINCT) & (covered <= WIDEST)


def _distance(pixels: Tensor, background: Tensor) -> Tensor:
    """Distance of each pixel from a background's colours in their own spread, 0..1 of the picture's largest.

    ``N × 3 × h × w`` and ``N × 3 × P`` -> ``N × h × w``.
    """
    mean = background.mean(2, keepdim=True)
    centred = background - mean
    spread = centred @ centred.mT / background.shape[2] + 25 * torch.eye(3, device=pixels.device)  # 5 levels of noise
    white = torch.linalg.inv(torch.linalg.cholesky(spread))
    distance: Tensor = (white @ (pixels.flatten(2) - mean)).norm(dim=1)
    return (distance / distance.amax(1, keepdim=True).clamp(min=1e-6)).view(len(pixels), *pixels.shape[2:])


def _otsu(values: Tensor) -> tuple[Tensor, Tensor]:
    """``N × h × w`` >= 0 -> mask of those above Otsu's threshold, and the share of the variance that it explains."""
    flat = values.flatten(1)
    low, high = flat.amin(1, keepdim=True), flat.amax(1, keepdim=True)
    place = ((flat - low) / (high - low).clamp(min=1e-6) * _BINS).long().clamp(max=_BINS - 1)
    counts = torch.zeros(len(flat), _BINS, device=flat.device).scatter_add_(1, place, torch.ones_like(flat))
    share = counts / flat.shape[1]
    levels = torch.arange(_BINS, device=flat.device, dtype=share.dtype)
    below, moment = share.cumsum(1), (share * levels).cumsum(1)
    mean = moment[:, -1:]
    between = (mean * below - moment).square() / (below * (1 - below)).clamp(min=1e-6)
    best, cut = between.max(1)
    total = (share * (levels - mean).square()).sum(1).clamp(min=1e-6)
    return (place > cut[:, None]).float().view_as(values), best / total


def subject(prompt: str) -> str:
    """What a prompt is a picture of: the first noun phrase in plain English word order, a guess by rule.

    An opening like "a photo of a" is left out, and all from the first comma, preposition, "and" or verb of posture on:
    "a photo of a red car on the beach" -> "red car". A prompt that is all opening is taken as it is.
    """
    rest = _OPENINGS.sub("", prompt.strip() + " ", count=1)
    words = _AFTER.split(rest, maxsplit=1)[0].strip()
    return words.lower() or prompt.strip().lower()


class Detector(nn.Module):
    """An open-vocabulary detector: pictures and phrases -> the best box of each.

    Pictures are resized as the checkpoint's own processor does: OWLv2 pads to a square and resizes to 960, Grounding
    DINO resizes the shorter side to 800.

    Args:
        key: configuration key, for errors.
        name_or_path: OWLv2, OWL-ViT or Grounding DINO, by hub id or folder.

    """

    def __init__(self, key: str, name_or_path: str) -> None:
        super().__init__()
        kinds = ("AutoModelForZeroShotObjectDetection",)
        loaded = load_transformer(key, name_or_path, kinds, "AutoProcessor")
        self.model: Any = loaded.model
        self.processor, self.version = loaded.processor, loaded.version

    @torch.inference_mode()
    def forward(self, images: Tensor, phrases: Sequence[str]) -> Tensor:
        """``N × 3 × H × W`` uint8 -> ``N × 4`` float32, fractions of the sides; NaN where nothing scores enough."""
        parts = [
            self._best(images[at : at + AT_ONCE], phrases[at : at + AT_ONCE]) for at in range(0, len(images), AT_ONCE)
        ]
        return torch.cat(parts)

    def _best(self, images: Tensor, phrases: Sequence[str]) -> Tensor:
        height, width = images.shape[2:]
        inputs = self._inputs(list(images), phrases).to(images.device)
        sizes = [(height, width)] * len(images)
        found = self.processor.post_process_grounded_object_detection(
            self.model(**inputs), target_sizes=sizes, **self._thresholds(inputs)
        )
        unit = torch.tensor([width, height, width, height], device=images.device)
        none = torch.full((4,), torch.nan, device=images.device)
        best = [one["boxes"][one["scores"].argmax()] / unit if len(one["scores"]) else none for one in found]
        return torch.stack(best).clamp(0, 1)

    def _inputs(self, images: list[Tensor], phrases: Sequence[str]) -> Any:
        """Each kind is asked in the words that it was trained with."""
        if self._is_grounding:
            texts: list[Any] = [f"{phrase}." for phrase in phrases]
            return self.processor(images=images, text=texts, padding=True, return_tensors="pt")
        texts = [[f"a photo of a {phrase}"] for phrase in phrases]
        return self.processor(images=images, text=texts, padding="max_length", truncation=True, return_tensors="pt")

    def _thresholds(self, inputs: Any) -> dict[str, Any]:
        if self._is_grounding:
            return {"threshold": GROUNDED, "text_threshold": GROUNDED, "input_ids": inputs["input_ids"]}
        return {"threshold": DETECTED}

    @property
    def _is_grounding(self) -> bool:
        return "grounding" in str(self.model.config.model_type)


def with_network(name_or_path: str) -> Attribute:
    """The centre of the best box that an open-vocabulary detector finds for the prompt's :func:`subject`.

    The same columns, NaN where nothing scores enough.
    """
    detector = Detector("measure.networks.location", name_or_path).eval()

    def detect(batch: AttributeBatch) -> Mapping[str, Tensor]:
        return centres(detector(batch.images, [subject(prompt) for prompt in batch.prompts]))

    return Attribute(ATTRIBUTE.columns, detect, version=f"2 {detector.version}", network=detector)


ATTRIBUTE = Attribute(("location_x", "location_y"), measure, needs_reading=True, version="2")
