"""Where the object is: by the scene parser's mask, by what stands out, or by a detector told the prompt's noun."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seedml.attributes import Attribute, AttributeBatch
from seedml.foreground import foreground_boxes
from seedml.hub import load_transformer

DETECTED, GROUNDED = 0.1, 0.25
"""The best box counts from this score on: the defaults of OWLv2 and of Grounding DINO."""
AT_ONCE = 8
"""Pictures that go through a detector together, whatever the batch: at 960 pixels they need much memory."""

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
    that stands out from the colours along the rim (``seedml/foreground.py``), be it one thing or several.
    """
    if batch.reading is None:
        return foreground_boxes(*batch.foreground)
    from seedml.models.bundled.layout import object_boxes as of_mask  # loaded only where seedling's world is meant

    return of_mask(batch.reading)


def centres(boxes: Tensor) -> dict[str, Tensor]:
    """Boxes ``N × 4`` -> this attribute's columns."""
    x, y = ((boxes[:, :2] + boxes[:, 2:]) / 2).unbind(1)
    return {"location_x": x, "location_y": y}


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
