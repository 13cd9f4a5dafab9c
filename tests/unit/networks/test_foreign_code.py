"""Code that lies beside a checkpoint is never run, and nobody is asked whether it may be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny_models import tiny_stable_diffusion, tiny_study

from seedml.errors import UserError
from seedml.files import read_json
from seedml.generation.prompt_report import report_on_prompts
from seedml.hub import load_inputs, load_transformer
from seedml.prompts import load_prompts

KEY = "measure.networks.depth"
CODE = "raise AssertionError('foreign code was run')\n"
CUSTOM = r"contains custom code"


@pytest.fixture(autouse=True)
def nobody_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Somebody sits there who says yes to everything."""
    asked: list[str] = []
    monkeypatch.setattr("builtins.input", lambda question="": asked.append(question) or "y")
    monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    yield
    assert not asked


def _with_code(folder: Path, file: str, content: dict[str, object], kind: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    target: object = ["foreign.Thing", None] if kind == "AutoTokenizer" else "foreign.Thing"
    (folder / file).write_text(json.dumps(content | {"auto_map": {kind: target}}))
    (folder / "foreign.py").write_text(CODE)
    return folder


def test_a_network_of_a_kind_of_its_own(tmp_path: Path) -> None:
    folder = _with_code(tmp_path / "net", "config.json", {"model_type": "foreign"}, "AutoConfig")
    (folder / "model.safetensors").write_bytes(b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(UserError, match=rf"^{KEY}: the network cannot be loaded.*{CUSTOM}"):
        load_transformer(KEY, str(folder), ["AutoModelForDepthEstimation"])


@pytest.mark.parametrize(
    ("file", "kind"),
    [("tokenizer_config.json", "AutoTokenizer"), ("preprocessor_config.json", "AutoImageProcessor"),
     ("processor_config.json", "AutoProcessor")],
)  # fmt: skip
def test_inputs_of_its_own(tmp_path: Path, file: str, kind: str) -> None:
    folder = _with_code(tmp_path / "inputs", file, {}, kind)
    with pytest.raises(UserError, match=rf"^{KEY}: no {kind.removeprefix('Auto').lower()} can be loaded.*{CUSTOM}"):
        load_inputs(KEY, str(folder), kind)


def test_a_tokenizer_of_the_studys_model(tmp_path: Path) -> None:
    model = tiny_stable_diffusion(tmp_path / "sd")
    index = read_json(model / "model_index.json")
    (model / "model_index.json").write_text(json.dumps(index | {"tokenizer": ["transformers", "ForeignTokenizer"]}))
    for path in (model / "tokenizer").iterdir():
        path.unlink()
    _with_code(model / "tokenizer", "tokenizer_config.json", {}, "AutoTokenizer")
    config = tiny_study(tmp_path, model)
    with pytest.raises(UserError, match=rf"^the model's tokenizer cannot be loaded.*{CUSTOM}"):
        report_on_prompts(config, load_prompts(config.prompts))
