"""Bundled prompts of a single object: 80 nouns in 10 phrasings.

The nouns are the object categories of MS-COCO (Lin et al. 2014, the 80 that are annotated). That the paper used "simple
object prompts" is known from weak sources only, and not which: these phrasings are ours. None speaks of what a study
measures: colour, border, sky, place, size, depth or letters.
"""

from __future__ import annotations

import hashlib

NOUNS = (
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light",
    "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant",
    "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard",
    "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich", "orange", "broccoli",
    "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch", "potted plant", "bed", "dining table", "toilet",
    "tv", "laptop", "mouse", "remote", "keyboard", "cell phone", "microwave", "oven", "toaster", "sink",
    "refrigerator", "book", "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
)  # fmt: skip

TEMPLATES = (
    "{object}", "a photo of {object}", "a picture of {object}", "an image of {object}", "a painting of {object}",
    "a drawing of {object}", "there is {object}", "a scene with {object}", "{object} and nothing else",
    "{object} in its usual surroundings",
)  # fmt: skip

_PHRASES = {
    "skis": "a pair of skis", "scissors": "a pair of scissors", "broccoli": "a head of broccoli", "tv": "a TV",
    "mouse": "a computer mouse", "remote": "a remote control",
}  # fmt: skip


def phrase(noun: str) -> str:
    """The noun with its article."""
    return _PHRASES.get(noun) or f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def object_prompts() -> list[str]:
    """All 800 prompts, in a fixed order that their own text decides, so that every prefix is a fair sample."""
    texts = [template.format(object=phrase(noun)) for noun in NOUNS for template in TEMPLATES]
    return sorted(texts, key=lambda text: hashlib.sha256(f"objects:{text}".encode()).digest())
