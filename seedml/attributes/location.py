"""Where the object is: by the scene parser's mask, by what stands out, or by a detector told the prompt's noun."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from seedml.attributes import Attribute, AttributeBatch
from seedml.foreground import foreground_boxes
from seedml.hub import load_transformer, named_parts

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


class Outliner(nn.Module):
    """A Segment Anything model: pictures and boxes -> the outline of the object in each box.

    Args:
        key: configuration key, for errors.
        name_or_path: SAM, by hub id or folder.

    """

    def __init__(self, key: str, name_or_path: str) -> None:
        super().__init__()
        loaded = load_transformer(key, name_or_path, ("AutoModelForMaskGeneration",), "AutoProcessor")
        self.model: Any = loaded.model
        self.processor, self.version = loaded.processor, loaded.version

    @torch.inference_mode()
    def forward(self, images: Tensor, boxes: Tensor) -> Tensor:
        """``N × 3 × H × W`` uint8 and ``N × 4`` fractions of the sides -> ``N × H × W`` bool; empty where no box is."""
        height, width = images.shape[2:]
        masks = torch.zeros(len(images), height, width, dtype=torch.bool, device=images.device)
        known = boxes.isfinite().all(1).nonzero()[:, 0]
        pixels = boxes * torch.tensor([width, height, width, height], device=boxes.device)
        for rows in torch.split(known, AT_ONCE):
            masks[rows] = self._outlined(images[rows], pixels[rows])
        return masks

    def _outlined(self, images: Tensor, boxes: Tensor) -> Tensor:
        corners = [[box] for box in boxes.tolist()]
        inputs = self.processor(images=list(images), input_boxes=corners, return_tensors="pt").to(images.device)
        found = self.model(
            pixel_values=inputs["pixel_values"], input_boxes=inputs["input_boxes"].float(), multimask_output=False
        )
        sizes = [inputs[name].tolist() for name in ("original_sizes", "reshaped_input_sizes") if name in inputs]
        masks = self.processor.post_process_masks(found.pred_masks, *sizes)
        return torch.stack([mask.reshape(images.shape[2:]) for mask in masks]).bool()


class ObjectFinder(nn.Module):
    """The object that a prompt speaks of, by a detector, and by its outline where a second network draws it.

    Args:
        key: configuration key, for errors.
        given: hub id or folder of a detector, and after `` + `` that of a Segment Anything model.

    """

    def __init__(self, key: str, given: str) -> None:
        super().__init__()
        detector, *outliners = named_parts(given)
        self.detector = Detector(key, detector)
        self.outliner = Outliner(key, outliners[0]) if outliners else None
        self.version = "+".join(part.version for part in (self.detector, self.outliner) if part is not None)

    def forward(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """``N × 3 × H × W`` uint8 with N prompts -> boxes ``N × 4`` float32, fractions; NaN where nothing is found."""
        boxes: Tensor = self.detector(images, [subject(prompt) for prompt in prompts])
        if self.outliner is None:
            return boxes
        masks = self.outliner(images, boxes)
        return foreground_boxes(masks.float(), masks.flatten(1).any(1))

    def masks(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """``N × H × W`` float32, 1 where the object is: its outline, or all of its box; 0 where nothing is found."""
        boxes: Tensor = self.detector(images, [subject(prompt) for prompt in prompts])
        if self.outliner is not None:
            outlines: Tensor = self.outliner(images, boxes)
            return outlines.float()
        left, top, right, bottom = boxes[:, :, None].unbind(1)
        x, y = ((torch.arange(side, device=boxes.device) + 0.5) / side for side in (images.shape[3], images.shape[2]))
        across, down = (x >= left) & (x <= right), (y >= top) & (y <= bottom)  # NaN is neither
        return (down[:, :, None] & across[:, None, :]).float()


def with_network(given: str) -> Attribute:
    """The centre of the object that a detector finds for the prompt's :func:`subject`; see :class:`ObjectFinder`.

    The same columns, NaN where nothing scores enough.
    """
    finder = ObjectFinder("measure.networks.location", given).eval()

    def detect(batch: AttributeBatch) -> Mapping[str, Tensor]:
        return centres(finder(batch.images, batch.prompts))

    return Attribute(ATTRIBUTE.columns, detect, version=f"2 {finder.version}", network=finder)


ATTRIBUTE = Attribute(("location_x", "location_y"), measure, needs_reading=True, version="2")
