"""Networks from their authors' own files: tiny random ones, against the code that such files come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch.nn.functional import normalize

from seedml.attributes import AttributeBatch, load_attributes
from seedml.errors import UserError
from seedml.features import load_network
from seedml.noise import seeded

PROMPTS = ["a red ball on grass", "A Castle in the rain!", "a red ball on grass", "word " * 200]
WIDTH = 128  # two heads


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    with seeded(3):
        coarse = torch.rand(4, 3, 6, 6)
        return torch.nn.functional.interpolate(coarse, (40, 56), mode="bicubic").mul(255).clamp(0, 255).byte()


def _open_clip() -> Any:
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision = CLIPVisionCfg(layers=2, width=WIDTH, head_width=64, mlp_ratio=2, patch_size=8, image_size=32)
    text = CLIPTextCfg(context_length=77, vocab_size=49408, width=64, heads=1, layers=2)
    with seeded(1):
        model = CLIP(24, vision, text).eval()
        for parameter in model.parameters():
            parameter.data += 0.02 * torch.randn(parameter.shape)
    return model


@pytest.fixture(scope="module")
def clip_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CLIP's own words, from open_clip's list of them."""
    from open_clip.tokenizer import SimpleTokenizer

    words = SimpleTokenizer()
    names = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {names.get(word, word): number for word, number in words.encoder.items()}
    merges = [pair for pair, _ in sorted(words.bpe_ranks.items(), key=lambda item: item[1])]
    folder = tmp_path_factory.mktemp("tokenizer")
    transformers.CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def hps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hps") / "HPS_v2.1_compressed.pt"
    torch.save({"epoch": 1, "state_dict": _open_clip().state_dict()}, path)
    return path


def _longest_side_fits(image: torch.Tensor, side: int) -> torch.Tensor:
    """HPS v2's preprocessing by torchvision."""
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as tv

    levels = image.float() / 255
    scale = side / max(levels.shape[1:])
    size = [round(length * scale) for length in levels.shape[1:]]
    levels = tv.resize(levels, size, InterpolationMode.BICUBIC)
    high, wide = side - size[0], side - size[1]
    levels = tv.pad(levels, [wide // 2, high // 2, wide - wide // 2, high - high // 2])
    return tv.normalize(levels, [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711])


def test_hps_is_what_open_clip_gives(images: torch.Tensor, hps: Path, clip_tokenizer: Path) -> None:
    from open_clip.tokenizer import SimpleTokenizer

    given = f"{hps} + {clip_tokenizer}"
    attribute = load_attributes(["agreement"], {"agreement": given})["agreement"]
    found = attribute.measure(AttributeBatch(images, PROMPTS))["agreement"]
    model, tokenize = _open_clip(), SimpleTokenizer()
    for row, (image, prompt) in enumerate(zip(images, PROMPTS, strict=True)):
        with torch.no_grad():
            of_image = model.encode_image(_longest_side_fits(image, 32)[None], normalize=True)
            of_text = model.encode_text(tokenize([prompt]), normalize=True)
        expected = model.logit_scale.exp() * (of_image * of_text).sum()
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-4)
    assert found.std() > 1e-3
    assert attribute.version != load_attributes(["agreement"])["agreement"].version


def test_the_tokenizer_may_lie_beside_the_file(images: torch.Tensor, hps: Path, clip_tokenizer: Path) -> None:
    beside = clip_tokenizer / hps.name
    beside.write_bytes(hps.read_bytes())
    one, other = (
        load_attributes(["agreement"], {"agreement": given})["agreement"].measure(AttributeBatch(images, PROMPTS))
        for given in (str(beside), f"{hps} + {clip_tokenizer}")
    )
    torch.testing.assert_close(one["agreement"], other["agreement"], rtol=0, atol=0)


def test_csd_is_what_the_tower_of_openais_clip_gives(images: torch.Tensor, tmp_path: Path) -> None:
    """By torch-fidelity's copy of that tower, whose activation is OpenAI's."""
    from torch_fidelity.feature_extractor_clip import VisionTransformer
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as tv

    with seeded(2):
        tower = VisionTransformer(32, 8, WIDTH, 2, 2, 24).eval()
        style, content = torch.randn(WIDTH, 24), torch.randn(WIDTH, 24)
    state = {f"module.backbone.{name}": value for name, value in tower.state_dict().items() if name != "proj"}
    state |= {"module.last_layer_style": style, "module.last_layer_content": content}
    torch.save({"model_state_dict": state, "epoch": 3}, tmp_path / "csd.pth")
    network = load_network("style", str(tmp_path / "csd.pth"))
    found = network.to(torch.device("cpu"))(images, None)
    tower.proj = None
    mean, deviation = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    for row, image in enumerate(images):
        cut = tv.center_crop(tv.resize(image, 32, InterpolationMode.BICUBIC), [32, 32])
        with torch.no_grad():
            expected = normalize(tower(tv.normalize(cut.float() / 255, mean, deviation)[None]) @ style, dim=1)[0]
        torch.testing.assert_close(found[row], expected, rtol=2e-2, atol=5e-3)  # 8-bit resizing differs by one level
    assert (network.dimension, len(network.weights)) == (24, 64)
    assert (found[0] - found[1]).abs().max() > 0.02


@pytest.fixture(scope="module")
def bert_tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bert")
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] a red ball on grass castle in the rain word !"
    (folder / "vocab.txt").write_text(words.replace(" ", "\n"))
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


class _Towers(torch.nn.Module):
    """The networks that ImageReward's file comes from: timm's vision transformer and BERT with cross-attention."""

    def __init__(self) -> None:
        from timm.models.vision_transformer import VisionTransformer

        super().__init__()
        self.visual_encoder = VisionTransformer(
            img_size=32, patch_size=8, embed_dim=WIDTH, depth=2, num_heads=2, mlp_ratio=2, num_classes=0,
            global_pool="",
        )  # fmt: skip
        config = transformers.BertConfig(
            vocab_size=40, hidden_size=64, num_hidden_layers=2, num_attention_heads=1, intermediate_size=96,
            max_position_embeddings=48, add_cross_attention=True, is_decoder=True, type_vocab_size=1,
        )  # fmt: skip
        config._attn_implementation = "eager"
        self.text_encoder = transformers.BertModel(config, add_pooling_layer=False)
        config.is_decoder = False  # each token sees those after it, too
        for layer in self.text_encoder.encoder.layer:
            for name in ("key", "value"):
                setattr(layer.crossattention.self, name, torch.nn.Linear(WIDTH, 64))


def _image_reward() -> tuple[_Towers, torch.nn.Sequential]:
    linear = torch.nn.Linear
    with seeded(4):
        towers = _Towers()
        head = torch.nn.Sequential(
            linear(64, 32), torch.nn.Dropout(), linear(32, 16), torch.nn.Dropout(), linear(16, 8), torch.nn.Dropout(),
            linear(8, 4), linear(4, 1),
        )  # fmt: skip
        for parameter in [*towers.parameters(), *head.parameters()]:
            parameter.data += 0.1 * torch.randn(parameter.shape)
    towers.text_encoder.embeddings.token_type_embeddings.weight.data.zero_()  # ImageReward's BERT has none
    return towers.eval(), head.eval()


def test_image_reward_is_what_its_parts_give(images: torch.Tensor, bert_tokenizer: Path, tmp_path: Path) -> None:
    from torchvision.transforms import functional as tv

    from seedml.networks.pictures import resized_and_cropped

    towers, head = _image_reward()
    state = {f"blip.{name}": value for name, value in towers.state_dict().items() if "token_type" not in name}
    state |= {f"mlp.layers.{name}": value for name, value in head.state_dict().items()}
    state |= {"blip.vision_proj.weight": torch.zeros(4, WIDTH), "blip.text_proj.bias": torch.zeros(4)}
    state["blip.text_encoder.embeddings.position_ids"] = torch.arange(48)[None]
    torch.save(state, tmp_path / "ImageReward.pt")
    attribute = load_attributes(["agreement"], {"agreement": f"{tmp_path / 'ImageReward.pt'} + {bert_tokenizer}"})
    found = attribute["agreement"].measure(AttributeBatch(images, PROMPTS))["agreement"]
    tokenizer = transformers.BertTokenizer.from_pretrained(bert_tokenizer)
    mean, deviation = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
    cut = resized_and_cropped(images, 32)
    for row, prompt in enumerate(PROMPTS):
        tokens = tokenizer(prompt, padding="max_length", truncation=True, max_length=35, return_tensors="pt")
        with torch.no_grad():
            seen = towers.visual_encoder(tv.normalize(cut[row].float() / 255, mean, deviation)[None])
            read = towers.text_encoder(
                tokens["input_ids"], attention_mask=tokens["attention_mask"], encoder_hidden_states=seen,
                encoder_attention_mask=torch.ones(seen.shape[:2], dtype=torch.long),
            )  # fmt: skip
            expected = (head(read.last_hidden_state[:, 0])[0, 0] - 0.16717362830052426) / 1.0333394966054072
        torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-4)
    assert found.std() > 1e-3


def test_what_such_files_lack_is_told_in_one_line(
    hps: Path, clip_tokenizer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    state = _open_clip().state_dict()
    del state["visual.ln_post.weight"]
    torch.save(state, tmp_path / "short.pt")
    torch.save({"encoder.weight": torch.zeros(2)}, tmp_path / "other.pt")
    for given, words in {
        str(hps): r"no tokenizer can be loaded.*remedy: name one after the weights",
        f"{tmp_path / 'short.pt'} + {clip_tokenizer}": r"not the weights of a CLIP: .*post_layernorm\.weight",
        f"{tmp_path / 'other.pt'} + {clip_tokenizer}": r"the file holds another network.*remedy: give one of these",
        f"{tmp_path / 'none.pt'} + {clip_tokenizer}": r"no such file.*remedy: correct the path",
        f"{hps} + nobody/nothing": r"cannot be had from the hub.*remedy: check the name",
        "THUDM/ImageReward": r"its name is missing.*THUDM/ImageReward/ImageReward\.pt \+ google-bert",
    }.items():
        with pytest.raises(UserError, match=rf"^measure\.networks\.agreement.*{words}") as caught:
            load_attributes(["agreement"], {"agreement": given})
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"^measure\.networks\.style.*another network than CSD"):
        load_network("style", str(tmp_path / "other.pt"))
