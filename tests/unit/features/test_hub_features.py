"""FD-DINOv2's and CMMD's vectors: tiny random checkpoints, against plain transformers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from seedml.errors import UserError
from seedml.features import load_network
from seedml.features.dinov2 import stretched_positions
from seedml.networks.pictures import cropped, squashed
from seedml.noise import seeded

VISION = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2,
          "image_size": 48, "patch_size": 16}  # fmt: skip


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    with seeded(3):
        coarse = torch.rand(3, 3, 9, 7)
        return torch.nn.functional.interpolate(coarse, (90, 64), mode="bicubic").mul(255).clamp(0, 255).byte()


def _dino(folder: Path, size: int, registers: bool = False) -> Path:
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "image_size": size, "patch_size": 14}
    kind = "Dinov2WithRegisters" if registers else "Dinov2"
    with seeded(0):
        model = getattr(transformers, f"{kind}Model")(getattr(transformers, f"{kind}Config")(**sizes))
        model.embeddings.position_embeddings.data.normal_()
    model.save_pretrained(folder)
    return folder


def _by_pillow(images: torch.Tensor, side: int, whole: bool) -> torch.Tensor:
    made = []
    for image in images:
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        if not whole:
            least = min(picture.size)
            left, top = (picture.width - least) // 2, (picture.height - least) // 2
            picture = picture.crop((left, top, left + least, top + least))
        made.append(np.asarray(picture.resize((side, side), Image.Resampling.BICUBIC)))
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2)


@pytest.mark.parametrize("side", [40, 224])
def test_resizing_is_pillows_to_a_level(images: torch.Tensor, side: int) -> None:
    for found, whole in ((squashed(images, side), True), (cropped(images, side), False)):
        difference = (found.int() - _by_pillow(images, side, whole).int()).abs()
        assert difference.max() <= 1
        assert found.dtype == torch.uint8


@pytest.mark.parametrize("registers", [False, True])
def test_fd_dinov2_is_what_plain_transformers_gives(images: torch.Tensor, tmp_path: Path, registers: bool) -> None:
    network = load_network("dinov2", str(_dino(tmp_path / "net", 224, registers)))
    found = network.to(torch.device("cpu"))(images, None)
    kind = transformers.Dinov2WithRegistersModel if registers else transformers.Dinov2Model
    model = kind.from_pretrained(tmp_path / "net").eval()
    processor = transformers.BitImageProcessor(
        do_resize=False, do_center_crop=False, image_mean=[0.485, 0.456, 0.406], image_std=[0.229, 0.224, 0.225]
    )
    pixels = processor(images=list(squashed(images, 224)), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        expected = model(pixels).pooler_output
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert found.shape == (3, network.dimension)
    assert (found[0] - found[1]).abs().max() > 1e-3
    assert network.weights
    torch.testing.assert_close(network(images[1:2], None)[0], found[1], rtol=1e-4, atol=1e-4)


def test_position_embeddings_are_stretched_as_dinov2s_own_code_does_it(images: torch.Tensor, tmp_path: Path) -> None:
    """37 patches a side to 16, with its offset: near transformers' own way, and not the same."""
    with seeded(1):
        table = torch.randn(1, 1 + 37 * 37, 8)
    grid = table[:, 1:].reshape(1, 37, 37, 8).permute(0, 3, 1, 2)
    whole, part = (16 + 0.1) / 37, (16 + 0.1) / np.sqrt(1369.0)
    expected = torch.nn.functional.interpolate(grid, scale_factor=(whole, float(part)), mode="bicubic")
    found = stretched_positions(table, 16)
    torch.testing.assert_close(found[:, 1:], expected.permute(0, 2, 3, 1).view(1, -1, 8))
    torch.testing.assert_close(found[:, :1], table[:, :1])
    plain = torch.nn.functional.interpolate(grid, (16, 16), mode="bicubic").permute(0, 2, 3, 1).view(1, -1, 8)
    assert (found[:, 1:] - plain).abs().max() > 0
    network = load_network("dinov2", str(_dino(tmp_path / "net", 518)))
    assert torch.isfinite(network(images, None)).all()


@pytest.mark.parametrize("whole", [True, False])
def test_cmmds_vectors_are_what_plain_transformers_gives(images: torch.Tensor, tmp_path: Path, whole: bool) -> None:
    text = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1,
            "vocab_size": 50}  # fmt: skip
    with seeded(0):
        model = (
            transformers.CLIPModel(transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=12))
            if whole
            else transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**VISION, projection_dim=12))
        ).eval()
    model.save_pretrained(tmp_path)
    network = load_network("clip", str(tmp_path))
    found = network.to(torch.device("cpu"))(images, None)
    processor = transformers.CLIPImageProcessor(do_resize=False, do_center_crop=False)
    pixels = processor(images=list(cropped(images, 48)), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        expected = model.get_image_features(pixels).pooler_output if whole else model(pixels).image_embeds
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert network.dimension == 12
    assert "48 x 48" in network.resize


def test_other_kinds_and_missing_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    dino = str(_dino(tmp_path / "dino", 28))
    transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**VISION)).save_pretrained(
        tmp_path / "clip"
    )
    for name, given, words in (
        ("clip", dino, r"measure\.networks\.clip: another kind of network.*dinov2.*remedy: choose a CLIP"),
        ("dinov2", str(tmp_path / "clip"), r"networks\.dinov2: another kind of network.*remedy: choose a DINO"),
        ("dinov2", "nobody/nothing", r"cannot be had from the hub.*remedy: check the name"),
        ("clip", "./nowhere", r"no such folder.*remedy: correct the path"),
    ):
        with pytest.raises(UserError, match=words):
            load_network(name, given)
    with pytest.raises(
        UserError, match=r"dinov2 needs weights; legal: .*facebook/dinov2-large.*measure\.networks\.dinov2"
    ):
        load_network("dinov2")
