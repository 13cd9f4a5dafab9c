"""Does the picture show what its caption says? The stand-in for a preference model where captions are seedling's."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from seedml.attributes import Attribute, AttributeBatch
from seedml.captions import parse_caption


def measure(batch: AttributeBatch) -> Mapping[str, Tensor]:
    """Agreement of picture and caption.

    ``agreement``: mean of the parser's probabilities for the caption's object, colour and ground, 0..1; NaN for a
    prompt that does not name exactly one of each of seedling's world (``captions.py``).
    """
    agreement = batch.unknown()
    captions = [parse_caption(prompt) for prompt in batch.prompts]
    rows = [row for row, caption in enumerate(captions) if caption is not None]
    if batch.reading is None or not rows:
        return {"agreement": agreement}
    said = torch.tensor([caption for caption in captions if caption is not None], device=agreement.device)
    kept = torch.tensor(rows, device=agreement.device)
    logits = (batch.reading.object, batch.reading.colour, batch.reading.ground)
    right = [
        scores[kept].float().softmax(1).gather(1, said[:, part : part + 1])[:, 0] for part, scores in enumerate(logits)
    ]
    agreement[kept] = torch.stack(right).mean(0)
    return {"agreement": agreement}


ATTRIBUTE = Attribute(("agreement",), measure, needs_reading=True)
