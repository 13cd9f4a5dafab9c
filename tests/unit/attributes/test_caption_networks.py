"""Caption agreement and style by tiny random checkpoints of the architectures that people use."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from tiny_models import tiny_tokenizer
from torch.nn.functional import cosine_similarity, normalize

from seedml.attributes import AttributeBatch, load_attributes
from seedml.errors import UserError
from seedml.features import load_network
from seedml.noise import seeded

PROMPTS = ["a red ball on grass", "a castle in the rain", "a red ball on grass", "x" * 200]
VISION = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2,
          "image_size": 32, "patch_size": 8}  # fmt: skip


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    with seeded(3):
        return torch.randint(0, 256, (4, 3, 40, 40), dtype=torch.uint8)


def _image_processor() -> transformers.CLIPImageProcessor:
    return transformers.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, tokenizer = tmp_path_factory.mktemp("clip"), tiny_tokenizer()
    text = {"hidden_size": 16, "intermediate_size": 32, "num_attention_heads": 2, "num_hidden_layers": 2,
            "vocab_size": len(tokenizer), "max_position_embeddings": 77, "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}  # fmt: skip
    with seeded(0):
        model = transformers.CLIPModel(
            transformers.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=12)
        )
    model.save_pretrained(folder)
    transformers.CLIPProcessor(_image_processor(), tokenizer).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def vision(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vision")
    with seeded(0):
        model = transformers.CLIPVisionModelWithProjection(transformers.CLIPVisionConfig(**VISION, projection_dim=12))
    model.save_pretrained(folder)
    _image_processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dino(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dino")
    sizes = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 2, "image_size": 28, "patch_size": 14}
    with seeded(0):
        model = transformers.Dinov2Model(transformers.Dinov2Config(**sizes))
    model.save_pretrained(folder)
    transformers.BitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 28, "width": 28}).save_pretrained(
        folder
    )
    return folder


def test_agreement_is_what_plain_transformers_gives(images: torch.Tensor, clip: Path) -> None:
    attribute = load_attributes(["agreement"], {"agreement": str(clip)})["agreement"]
    found = attribute.measure(AttributeBatch(images, PROMPTS))["agreement"]
    model = transformers.CLIPModel.from_pretrained(clip).eval()
    processor = transformers.CLIPProcessor.from_pretrained(clip)
    for row, (image, prompt) in enumerate(zip(images, PROMPTS, strict=True)):
        inputs = processor(
            text=[prompt], images=[image], return_tensors="pt", truncation=True, padding=True, max_length=77
        )
        with torch.inference_mode():
            expected = model(**inputs).logits_per_image[0, 0]
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-4)
    assert found.std() > 0
    assert not attribute.needs_reading
    assert attribute.version != load_attributes(["agreement"])["agreement"].version


def test_weights_and_processor_may_lie_apart(images: torch.Tensor, clip: Path, tmp_path: Path) -> None:
    """As PickScore's do: the weights are in one repository, what its inputs are made with is in another."""
    for name, patterns in (("weights", ("config.json", "*.safetensors")), ("inputs", ("*token*", "*process*"))):
        (tmp_path / name).mkdir()
        for path in (path for pattern in patterns for path in clip.glob(pattern)):
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
    given = f"{tmp_path / 'weights'} + {tmp_path / 'inputs'}"
    apart, together = (load_attributes(["agreement"], {"agreement": name})["agreement"] for name in (given, str(clip)))
    found, expected = (one.measure(AttributeBatch(images, PROMPTS))["agreement"] for one in (apart, together))
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    assert "+" in apart.version
    with pytest.raises(UserError, match=r"agreement: no processor can be loaded.*remedy: name one after"):
        load_attributes(["agreement"], {"agreement": f"{clip} + {tmp_path}"})


def test_a_score_does_not_depend_on_companions(images: torch.Tensor, clip: Path) -> None:
    attribute = load_attributes(["agreement"], {"agreement": str(clip)})["agreement"]
    together = attribute.measure(AttributeBatch(images.repeat(5, 1, 1, 1), PROMPTS * 5))["agreement"]
    for row, prompt in enumerate(PROMPTS):
        alone = attribute.measure(AttributeBatch(images[row : row + 1], [prompt]))["agreement"]
        torch.testing.assert_close(together[row + 8 : row + 9], alone, rtol=1e-4, atol=1e-4)


def test_networks_that_are_no_clip_are_refused(dino: Path) -> None:
    for name in ("THUDM/ImageReward", str(dino)):
        with pytest.raises(UserError, match=r"measure\.networks\.agreement.*PickScore"):
            load_attributes(["agreement"], {"agreement": name})


def test_style_of_clip_csd_and_dino_is_what_plain_transformers_gives(
    images: torch.Tensor, clip: Path, vision: Path, dino: Path
) -> None:
    pixels = _image_processor()(images=list(images), return_tensors="pt")["pixel_values"]
    with torch.inference_mode():
        whole = transformers.CLIPModel.from_pretrained(clip).eval().get_image_features(pixels).pooler_output
        projected = transformers.CLIPVisionModelWithProjection.from_pretrained(vision).eval()(pixels).image_embeds
        crop = transformers.BitImageProcessor.from_pretrained(dino)(images=list(images), return_tensors="pt")
        token = transformers.Dinov2Model.from_pretrained(dino).eval()(**crop).last_hidden_state[:, 0]
    versions = set()
    for folder, expected in ((clip, whole), (vision, projected), (dino, token)):
        network = load_network("style", str(folder), "measure.vectors")
        found = network.to(torch.device("cpu"))(images, None)
        torch.testing.assert_close(found, normalize(expected, dim=1), rtol=1e-4, atol=1e-4)
        assert found.shape == (4, network.dimension)
        assert cosine_similarity(found[:1], found[1:2]) < 1 - 1e-6
        torch.testing.assert_close(network(images[2:3], None)[0], found[2], rtol=1e-4, atol=1e-4)
        versions.add(network.version)
    assert len(versions) == 3


def test_other_networks_give_no_style(tmp_path: Path) -> None:
    sizes = {"hidden_sizes": [8], "depths": [1], "embedding_size": 8}
    transformers.ResNetModel(transformers.ResNetConfig(**sizes)).save_pretrained(tmp_path)
    _image_processor().save_pretrained(tmp_path)
    with pytest.raises(UserError, match=r"measure\.networks\.style: another kind of network.*resnet"):
        load_network("style", str(tmp_path))
    with pytest.raises(UserError, match="layout takes no network"):
        load_network("layout", str(tmp_path))
