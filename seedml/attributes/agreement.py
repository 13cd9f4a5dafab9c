"""Does the picture show what its caption says, and would people like it? By the scene parser, or by a network.

The parser's score is the stand-in for a preference model where captions are seedling's. :func:`with_network` takes
CLIPScore, PickScore and HPS v2.1 instead, whose scores are of any caption and have another scale.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedml.attributes import Attribute, AttributeBatch
from seedml.captions import parse_caption
from seedml.errors import UserError
from seedml.hub import load_transformer

AT_ONCE = 8
"""Pictures that go through a network together, whatever the batch."""
_KEY = "measure.networks.agreement"


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


class CaptionNetwork(nn.Module):
    """A CLIP whose score of picture and text is its logit scale (100 in all below) × cosine: −100..100, no unit.

    - CLIPScore (Hessel et al. 2021): any CLIP such as ``openai/clip-vit-large-patch14``; not cut off at 0.
    - PickScore (Kirstain et al. 2023): ``yuvalkirstain/PickScore_v1``.
    - HPS v2.1 (Wu et al. 2023): published as an open_clip checkpoint, so a copy converted to transformers'
      ``CLIPModel`` is needed; the score is 100 × the cosine that their own code gives.

    Scores of two networks do not compare. Pictures are resized and cropped as the checkpoint's own processor does
    (CLIP: shorter side 224, bicubic, centre square, so what is not square loses its ends); texts are cut where they
    are longer than it reads.

    Args:
        name_or_path: hub id or folder.

    Raises:
        UserError: it cannot be loaded, or is no CLIP.

    """

    def __init__(self, name_or_path: str) -> None:
        super().__init__()
        if "imagereward" in name_or_path.lower():
            raise _unsupported(name_or_path, "ImageReward is published as a pickle with a head of its own")
        loaded = load_transformer(_KEY, name_or_path, ("AutoModel",), "AutoProcessor")
        kind = loaded.model.config.model_type
        if kind != "clip":
            raise _unsupported(name_or_path, f"this network is of kind {kind}")
        self.model: Any = loaded.model
        self.processor, self.version = loaded.processor, loaded.version
        self.longest = self.model.config.text_config.max_position_embeddings

    @torch.inference_mode()
    def forward(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """``N × 3 × H × W`` uint8 with N texts -> ``N`` float32."""
        texts = sorted(set(prompts))
        of_text = torch.cat([self._texts(texts[at : at + AT_ONCE]) for at in range(0, len(texts), AT_ONCE)])
        rows = torch.tensor([texts.index(prompt) for prompt in prompts], device=images.device)
        of_image = torch.cat([self._images(part) for part in torch.split(images, AT_ONCE)])
        scores: Tensor = self.model.logit_scale.exp() * (of_image * of_text[rows]).sum(1)
        return scores.float()

    def _texts(self, texts: Sequence[str]) -> Tensor:
        tokens = self.processor.tokenizer(
            list(texts), padding="max_length", max_length=self.longest, truncation=True, return_tensors="pt"
        )
        device = self.model.logit_scale.device
        found = self.model.get_text_features(tokens["input_ids"].to(device), tokens["attention_mask"].to(device))
        return F.normalize(found.pooler_output, dim=1)

    def _images(self, images: Tensor) -> Tensor:
        pixels = self.processor.image_processor(images=list(images), return_tensors="pt")["pixel_values"]
        return F.normalize(self.model.get_image_features(pixels.to(images.device)).pooler_output, dim=1)


def _unsupported(name_or_path: str, why: str) -> UserError:
    return UserError(
        f"{_KEY}: {why}", given=name_or_path,
        legal="a CLIP in transformers' format: openai/clip-vit-large-patch14 (CLIPScore), yuvalkirstain/PickScore_v1, "
        "or a converted HPS v2.1",
        remedy="for a preference model choose PickScore",
    )  # fmt: skip


def with_network(name_or_path: str) -> Attribute:
    """``agreement`` as :class:`CaptionNetwork` scores it: logit scale × cosine, for any prompt."""
    network = CaptionNetwork(name_or_path).eval()

    def score(batch: AttributeBatch) -> Mapping[str, Tensor]:
        return {"agreement": network(batch.images, batch.prompts)}

    return Attribute(("agreement",), score, version=f"1 {network.version}", network=network)


ATTRIBUTE = Attribute(("agreement",), measure, needs_reading=True)
