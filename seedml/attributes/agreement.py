"""Does the picture show what its caption says, and would people like it? By the scene parser, or by a network.

The parser's score is the stand-in for a preference model where captions are seedling's. :func:`with_network` takes
CLIPScore, PickScore, HPS v2.1 or ImageReward instead, whose scores are of any caption and have other scales.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedml.attributes import Attribute, AttributeBatch
from seedml.captions import parse_caption
from seedml.errors import UserError
from seedml.hub import load_inputs, load_transformer, named_parts
from seedml.networks.files import find_file, is_file_name, read_weights
from seedml.networks.image_reward import LONGEST, ImageReward, is_image_reward
from seedml.networks.open_clip import clip_model, is_clip
from seedml.networks.pictures import CLIP, normalised, padded

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
    - HPS v2.1 (Wu et al. 2023): 100 × the cosine that their own code gives.

    Scores of two networks do not compare. Texts are cut where they are longer than it reads.

    Args:
        model: transformers' ``CLIPModel``.
        tokenizer: of the model.
        pixels: ``N × 3 × H × W`` uint8 -> what the vision tower takes.
        version: names the weights.

    """

    def __init__(self, model: Any, tokenizer: Any, pixels: Callable[[Tensor], Tensor], version: str) -> None:
        super().__init__()
        self.model, self.tokenizer, self.pixels, self.version = model, tokenizer, pixels, version
        self.longest = model.config.text_config.max_position_embeddings

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
        tokens = self.tokenizer(
            list(texts), padding="max_length", max_length=self.longest, truncation=True, return_tensors="pt"
        )
        device = self.model.logit_scale.device
        found = self.model.get_text_features(tokens["input_ids"].to(device), tokens["attention_mask"].to(device))
        return F.normalize(found.pooler_output, dim=1)

    def _images(self, images: Tensor) -> Tensor:
        return F.normalize(self.model.get_image_features(self.pixels(images).to(images.device)).pooler_output, dim=1)


class RewardNetwork(nn.Module):
    """ImageReward's score: a reward, about 0 ± 1 over the pictures that it was trained on, no unit.

    Args:
        model: the network.
        tokenizer: BERT's, uncased.
        version: names the weights.

    """

    def __init__(self, model: ImageReward, tokenizer: Any, version: str) -> None:
        super().__init__()
        self.model, self.tokenizer, self.version = model, tokenizer, version

    @torch.inference_mode()
    def forward(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """``N × 3 × H × W`` uint8 with N texts -> ``N`` float32."""
        tokens = self.tokenizer(
            list(prompts), padding="max_length", max_length=LONGEST, truncation=True, return_tensors="pt"
        )
        pieces = [
            torch.split(part, AT_ONCE)
            for part in (images, *(tokens[name].to(images.device) for name in ("input_ids", "attention_mask")))
        ]
        return torch.cat([self.model(*piece) for piece in zip(*pieces, strict=True)]).float()


def _of_transformers(given: str) -> CaptionNetwork:
    """A CLIP in transformers' format. Pictures are resized and cropped as the checkpoint's own processor does.

    (CLIP: shorter side 224, bicubic, centre square, so what is not square loses its ends.)
    """
    if "imagereward" in given.lower():
        raise _unsupported(given, "ImageReward is a file of weights, and its name is missing")
    loaded = load_transformer(_KEY, given, ("AutoModel",), "AutoProcessor")
    kind = loaded.model.config.model_type
    if kind != "clip":
        raise _unsupported(given, f"this network is of kind {kind}")
    processor = loaded.processor

    def pixels(images: Tensor) -> Tensor:
        found: Tensor = processor.image_processor(images=list(images), return_tensors="pt")["pixel_values"]
        return found

    return CaptionNetwork(loaded.model, processor.tokenizer, pixels, loaded.version)


def _of_file(given: str) -> CaptionNetwork | RewardNetwork:
    """HPS v2.1 or ImageReward from the file that its authors published, and a tokenizer from elsewhere."""
    name, *others = named_parts(given)
    path = find_file(_KEY, name)
    weights = read_weights(_KEY, path, name)
    tokenizer, version = load_inputs(_KEY, others[0] if others else str(path.parent))
    version = f"{weights.sha256[:16]}+{version}"
    if is_image_reward(weights):
        return RewardNetwork(ImageReward(_KEY, weights), tokenizer, version)
    if not is_clip(weights):
        raise _unsupported(given, "the file holds another network")
    model = clip_model(_KEY, weights)
    side = model.config.vision_config.image_size
    return CaptionNetwork(model, tokenizer, lambda images: normalised(padded(images, side), CLIP), version)


def _unsupported(given: str, why: str) -> UserError:
    return UserError(
        f"{_KEY}: {why}", given=given,
        legal="a CLIP in transformers' format: openai/clip-vit-large-patch14 (CLIPScore), yuvalkirstain/PickScore_v1; "
        "or a file + a tokenizer: xswu/HPSv2/HPS_v2.1_compressed.pt + openai/clip-vit-large-patch14, "
        "THUDM/ImageReward/ImageReward.pt + google-bert/bert-base-uncased",
        remedy="give one of these, for a preference model PickScore",
    )  # fmt: skip


def with_network(given: str) -> Attribute:
    """``agreement`` as :class:`CaptionNetwork` or :class:`RewardNetwork` scores it, for any prompt.

    Args:
        given: hub id or folder of a CLIP, or a file of weights ``+`` a tokenizer.

    Raises:
        UserError: it cannot be loaded, or is none of these.

    """
    network = (_of_file if is_file_name(named_parts(given)[0]) else _of_transformers)(given).eval()

    def score(batch: AttributeBatch) -> Mapping[str, Tensor]:
        return {"agreement": network(batch.images, batch.prompts)}

    return Attribute(("agreement",), score, version=f"1 {network.version}", network=network)


ATTRIBUTE = Attribute(("agreement",), measure, needs_reading=True)
