"""Attributes measured by networks of others: tiny random checkpoints, against plain transformers."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from seedml.attributes import AttributeBatch, load_attributes
from seedml.attributes.location import subject
from seedml.errors import UserError
from seedml.hub import find_network
from seedml.models.bundled.scenes import draw, sample_scenes
from seedml.models.bundled.words import build_tokenizer
from seedml.noise import seeded

PROMPTS = [
    "a red ball on grass", "a photo of a blue car on the sand", "a green tree, on stone", "a mug", "one star on snow",
    "a box", "a black house on wood", "a pink heart on water", "a cone",
]  # fmt: skip
LABELS = {0: "wall", 1: "sky", 2: "tree"}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """More than go through a network together."""
    return draw(sample_scenes(88, range(len(PROMPTS))))


def _save(folder: Path, model: Any, processor: Any) -> str:
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def _segformer(folder: Path) -> str:
    config = transformers.SegformerConfig(
        depths=[1] * 4, hidden_sizes=[8, 8, 16, 16], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16,
        id2label=LABELS, label2id={name: index for index, name in LABELS.items()},
    )  # fmt: skip
    with seeded(3):
        model = transformers.SegformerForSemanticSegmentation(config)
    return _save(folder, model, transformers.SegformerImageProcessor(size={"height": 64, "width": 64}))


def _mask2former(folder: Path) -> str:
    swin = transformers.SwinConfig(
        image_size=64, embed_dim=8, depths=[1] * 4, num_heads=[1, 1, 2, 2], window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.Mask2FormerConfig(
        backbone_config=swin, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_layers=1, decoder_layers=2,
        num_attention_heads=2, num_queries=5, encoder_feedforward_dim=32, dim_feedforward=32, id2label=LABELS,
        label2id={name: index for index, name in LABELS.items()},
    )  # fmt: skip
    with seeded(4):
        model = transformers.Mask2FormerForUniversalSegmentation(config)
    return _save(folder, model, transformers.Mask2FormerImageProcessor(size={"height": 64, "width": 64}))


def _depth_anything(folder: Path) -> str:
    dino = transformers.Dinov2Config(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, image_size=56, patch_size=14,
        out_features=["stage1", "stage2", "stage3", "stage4"], reshape_hidden_states=False,
    )  # fmt: skip
    config = transformers.DepthAnythingConfig(
        backbone_config=dino, patch_size=14, reassemble_hidden_size=16, neck_hidden_sizes=[8] * 4, fusion_hidden_size=8,
        head_hidden_size=4,
    )  # fmt: skip
    with seeded(5):
        model = transformers.DepthAnythingForDepthEstimation(config)
    size = {"height": 56, "width": 56}
    return _save(folder, model, transformers.DPTImageProcessor(size=size, ensure_multiple_of=14))


def _owlv2(folder: Path) -> str:
    text = {"vocab_size": 700, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "max_position_embeddings": 16}  # fmt: skip
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
              "image_size": 64, "patch_size": 16}  # fmt: skip
    with seeded(6):
        model = transformers.Owlv2ForObjectDetection(
            transformers.Owlv2Config(text_config=text, vision_config=vision, projection_dim=16)
        )
    tokenizer = build_tokenizer()
    tokenizer.model_max_length = 16
    assert len(tokenizer) <= 700
    processor = transformers.Owlv2Processor(
        transformers.Owlv2ImageProcessor(size={"height": 64, "width": 64}), tokenizer
    )
    return _save(folder, model, processor)


def _grounding_dino(folder: Path) -> str:
    words = sorted({word for prompt in PROMPTS for word in subject(prompt).split()})
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", *words]))
    tokenizer = transformers.BertTokenizer(str(folder / "vocab.txt"))
    swin = transformers.SwinConfig(
        image_size=64, embed_dim=8, depths=[1] * 4, num_heads=[1, 1, 2, 2], window_size=2,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    bert = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    config = transformers.GroundingDinoConfig(
        backbone_config=swin, text_config=bert, d_model=32, encoder_layers=1, decoder_layers=2, num_queries=12,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        disable_custom_kernels=True, max_text_len=32,
    )  # fmt: skip
    with seeded(7):
        model = transformers.GroundingDinoForObjectDetection(config)
    size = {"shortest_edge": 64, "longest_edge": 128}
    return _save(
        folder,
        model,
        transformers.GroundingDinoProcessor(transformers.GroundingDinoImageProcessor(size=size), tokenizer),
    )


def _sam(folder: Path) -> str:
    vision = transformers.SamVisionConfig(
        hidden_size=16, output_channels=8, num_hidden_layers=1, num_attention_heads=2, image_size=64, patch_size=16,
        window_size=2, global_attn_indexes=[0], mlp_dim=16, num_pos_feats=4,
    )  # fmt: skip
    prompts = transformers.SamPromptEncoderConfig(
        hidden_size=8, image_size=64, patch_size=16, image_embedding_size=4, mask_input_channels=4
    )
    decoder = transformers.SamMaskDecoderConfig(
        hidden_size=8, mlp_dim=16, num_hidden_layers=1, num_attention_heads=2, iou_head_hidden_dim=8,
        attention_downsample_rate=1,
    )  # fmt: skip
    with seeded(8):
        model = transformers.SamModel(
            transformers.SamConfig(vision_config=vision, prompt_encoder_config=prompts, mask_decoder_config=decoder)
        )
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn(parameter.shape)
    processor = transformers.SamProcessor(
        transformers.SamImageProcessor(size={"longest_edge": 64}, pad_size={"height": 64, "width": 64})
    )
    return _save(folder, model, processor)


def _measured(name: str, folder: str, images: torch.Tensor, prompts: list[str]) -> dict[str, np.ndarray]:
    attribute = load_attributes([name], {name: folder})[name]
    assert attribute.columns == load_attributes([name])[name].columns
    return {column: values.numpy() for column, values in attribute.measure(AttributeBatch(images, prompts)).items()}


@pytest.mark.parametrize("make", [_segformer, _mask2former])
def test_sky_is_the_share_of_pixels_that_the_segmenter_calls_sky(
    make: Callable[[Path], str], images: torch.Tensor, tmp_path: Path
) -> None:
    folder = make(tmp_path / "net")
    found = _measured("sky", folder, images, PROMPTS)
    pipeline = transformers.pipeline("image-segmentation", model=folder, image_processor=folder)
    for row, image in enumerate(images):
        parts = pipeline(Image.fromarray(image.permute(1, 2, 0).numpy()), subtask="semantic")
        sky = [np.array(part["mask"]) > 0 for part in parts if part["label"] == "sky"]
        assert found["sky"][row] == pytest.approx(sky[0].mean() if sky else 0, abs=0.004)
    assert np.ptp(found["sky"]) > 0
    assert (found["sky_white"] + found["sky_blue"] <= found["sky"] + 1e-6).all()


def test_depth_is_that_of_plain_transformers(images: torch.Tensor, tmp_path: Path) -> None:
    folder = _depth_anything(tmp_path / "net")
    found = _measured("depth", folder, images, PROMPTS)
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    model = transformers.AutoModelForDepthEstimation.from_pretrained(folder)
    for row, image in enumerate(images):
        with torch.no_grad():
            near = model(**processor(image, return_tensors="pt")).predicted_depth[0]
        far = 1 - (near - near.min()) / (near.max() - near.min())
        third = len(far) // 3
        assert found["depth_scene"][row] == pytest.approx(far.mean().item(), abs=1e-3)
        expected = far[:third].mean() - far[-third:].mean()
        assert found["depth_gradient"][row] == pytest.approx(expected.item(), abs=1e-3)
    known = found["depth"][~np.isnan(found["depth"])]
    assert len(known) > 0
    assert (known >= 0).all()
    assert (known <= 1).all()


@pytest.mark.parametrize("make", [_owlv2, _grounding_dino])
def test_the_best_box_is_that_of_plain_transformers(
    make: Callable[[Path], str], images: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seedml.attributes.location.DETECTED", 0.0)  # random networks are sure of nothing
    monkeypatch.setattr("seedml.attributes.location.GROUNDED", 0.0)
    folder = make(tmp_path / "net")
    wide = images[:, :, 16:96]  # not square
    where, how_big = (_measured(name, folder, wide, PROMPTS) for name in ("location", "size"))
    processor = transformers.AutoProcessor.from_pretrained(folder)
    model = transformers.AutoModelForZeroShotObjectDetection.from_pretrained(folder)
    grounding = "grounding" in model.config.model_type
    for row, (image, prompt) in enumerate(zip(wide, PROMPTS, strict=True)):
        text = f"{subject(prompt)}." if grounding else [[f"a photo of a {subject(prompt)}"]]
        inputs = processor(images=image, text=text, return_tensors="pt", padding=True if grounding else "max_length")
        with torch.no_grad():
            outputs = model(**inputs)
        best = outputs.logits.sigmoid().amax(2)[0].argmax()
        x, y, width, height = outputs.pred_boxes[0, best].tolist()
        longest = (1.0, 1.0) if grounding else (1.0, 128 / 80)  # OWLv2's fractions are of a square, padded below
        box = (
            np.clip([x - width / 2, x + width / 2], 0, 1),
            np.clip([(y - height / 2) * longest[1], (y + height / 2) * longest[1]], 0, 1),
        )
        assert where["location_x"][row] == pytest.approx(box[0].mean(), abs=2e-3)
        assert where["location_y"][row] == pytest.approx(box[1].mean(), abs=2e-3)
        area = float(np.ptp(box[0]) * np.ptp(box[1]))
        assert how_big["size"][row] == pytest.approx(math.sqrt(area), abs=2e-3)


def test_an_outline_is_that_of_plain_transformers(
    images: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seedml.attributes.location import ObjectFinder
    from seedml.foreground import foreground_boxes

    monkeypatch.setattr("seedml.attributes.location.DETECTED", 0.0)
    detector, outliner = _owlv2(tmp_path / "owl"), _sam(tmp_path / "sam")
    given, wide = f"{detector} + {outliner}", images[:, :, 16:96]
    where, how_big = (_measured(name, given, wide, PROMPTS) for name in ("location", "size"))
    boxes = ObjectFinder("key", detector)(wide, PROMPTS)
    finder = ObjectFinder("key", given).eval()
    masks = finder.masks(wide, PROMPTS)
    model = transformers.SamModel.from_pretrained(outliner).eval()
    processor = transformers.SamProcessor.from_pretrained(outliner)
    for row, image in enumerate(wide):
        corners = (boxes[row] * torch.tensor([128.0, 80.0, 128.0, 80.0])).tolist()
        inputs = processor(images=image, input_boxes=[[corners]], return_tensors="pt")
        with torch.no_grad():
            found = model(inputs["pixel_values"], input_boxes=inputs["input_boxes"].float(), multimask_output=False)
        (mask,) = processor.post_process_masks(
            found.pred_masks, inputs["original_sizes"], inputs["reshaped_input_sizes"]
        )
        outline = mask[0, 0].float()[None]
        assert (outline[0] != masks[row]).float().mean() < 0.01
        left, top, right, bottom = foreground_boxes(outline, outline.flatten(1).any(1))[0].tolist()
        assert where["location_x"][row] == pytest.approx((left + right) / 2, abs=0.02, nan_ok=True)
        assert how_big["size_height"][row] == pytest.approx(bottom - top, abs=0.02, nan_ok=True)
    assert 0 < masks.mean() < 1
    assert finder.version.count("+") == 1


def test_depth_is_taken_under_the_object_that_a_detector_finds(
    images: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seedml.attributes.depth import DepthNetwork
    from seedml.attributes.location import ObjectFinder

    monkeypatch.setattr("seedml.attributes.location.DETECTED", 0.0)
    depth_net, detector = _depth_anything(tmp_path / "depth"), _owlv2(tmp_path / "owl")
    found = _measured("depth", f"{depth_net} + {detector}", images, PROMPTS)
    maps, boxes = DepthNetwork(depth_net)(images), ObjectFinder("key", detector)(images, PROMPTS)
    for row, (left, top, right, bottom) in enumerate((boxes * 128).round().int().tolist()):
        box = torch.zeros(128, 128)
        box[top:bottom, left:right] = 1
        weight = torch.nn.functional.adaptive_avg_pool2d(box[None, None], maps.shape[1:])[0, 0]
        expected = (maps[row] * weight).sum() / weight.sum()
        assert found["depth"][row] == pytest.approx(expected.item(), abs=0.02, nan_ok=True)  # a box may be empty


def test_nothing_found_is_unknown(images: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seedml.attributes.location.DETECTED", 1.1)
    found = _measured("location", _owlv2(tmp_path / "net"), images[:2], PROMPTS[:2])
    assert np.isnan(found["location_x"]).all()


def test_a_row_does_not_depend_on_its_companions(images: torch.Tensor, tmp_path: Path) -> None:
    for name, make in (("sky", _segformer), ("depth", _depth_anything), ("location", _owlv2)):
        folder = make(tmp_path / name)
        together = _measured(name, folder, images, PROMPTS)
        alone = _measured(name, folder, images[5:6], PROMPTS[5:6])
        for column, values in together.items():
            np.testing.assert_allclose(values[5:6], alone[column], atol=1e-3)


def test_the_version_names_the_weights(tmp_path: Path) -> None:
    folder = _segformer(tmp_path / "a")
    first = load_attributes(["sky"], {"sky": folder})["sky"]
    assert first.version == load_attributes(["sky"], {"sky": _segformer(tmp_path / "b")})["sky"].version
    assert first.version != load_attributes(["sky"])["sky"].version
    model = transformers.SegformerForSemanticSegmentation.from_pretrained(folder)
    model.decode_head.classifier.bias.data += 1
    model.save_pretrained(folder)
    assert load_attributes(["sky"], {"sky": folder})["sky"].version != first.version
    assert first.network is not None
    assert not first.network.training


def test_what_cannot_be_loaded_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (tmp_path / "empty").mkdir()
    segmenter, nothing = _segformer(tmp_path / "net"), str(tmp_path / "empty")
    for name, given, words in (
        ("sky", "./nowhere", "measure.networks.sky: no such folder"),
        ("sky", nothing, "no network in this folder.*safetensors"),
        ("depth", segmenter, "another kind of network.*segformer.*AutoModelForDepthEstimation"),
        ("sky", "nobody/nothing", "cannot be had from the hub"),
    ):
        with pytest.raises(UserError, match=words):
            load_attributes([name], {name: given})


def test_a_segmenter_without_a_sky_is_refused(tmp_path: Path) -> None:
    folder = _segformer(tmp_path / "net")
    config = tmp_path / "net" / "config.json"
    config.write_text(config.read_text().replace('"sky"', '"cat"'))
    with pytest.raises(UserError, match="knows no class called sky"):
        load_attributes(["sky"], {"sky": folder})


def test_a_checkpoint_that_lacks_weights_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = _segformer(tmp_path / "net")
    path = tmp_path / "net" / "model.safetensors"
    weights = load_file(path)
    del weights["decode_head.classifier.weight"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"weights are missing: decode_head\.classifier\.weight"):
        load_attributes(["sky"], {"sky": folder})


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "net"
    _segformer(folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="no network in this folder"):
        load_attributes(["sky"], {"sky": str(folder)})


def test_a_hub_id_is_fetched_by_its_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def snapshot(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        asked.append((name, revision))
        assert not any("bin" in pattern for pattern in allow_patterns)
        return str(tmp_path / "0123abc")

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    assert find_network("key", "owner/name@main") == (tmp_path / "0123abc", "0123abc")
    assert find_network("key", "owner/name") == (tmp_path / "0123abc", "0123abc")
    assert asked == [("owner/name", "main"), ("owner/name", None)]


@pytest.mark.parametrize(
    ("prompt", "noun"),
    [
        ("a red ball on grass", "red ball"),
        ("A photo of a red car on the beach", "red car"),
        ("two dogs playing, oil painting", "dogs playing"),
        ("astronaut riding a horse", "astronaut"),
        ("the mug", "mug"),
        ("a close-up of an old man's face", "old man's face"),
        ("a photo of a", "a photo of a"),
    ],
)
def test_the_subject_of_a_prompt(prompt: str, noun: str) -> None:
    assert subject(prompt) == noun
