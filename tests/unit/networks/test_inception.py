"""FID's Inception against the programs that FID is computed with, from one random file of weights."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from random_inception import write_random_inception

from seedml.config import ReferenceConfig
from seedml.errors import UserError
from seedml.features import load_network
from seedml.files import sha256_of
from seedml.measurement.reference import make_reference
from seedml.measurement.reference_files import ReferenceFeatures
from seedml.models.bundled.scenes import draw, sample_scenes
from seedml.networks.inception import DOWNLOADS
from seedml.per_seed.frechet import Reference, frechet_distances_of_samples

SIZES = ((128, 128), (96, 150), (299, 299), (330, 301))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_inception(tmp_path_factory.mktemp("inception") / "weights.pth")


def _pictures(count: int, size: tuple[int, int], first: int = 0) -> torch.Tensor:
    scenes = draw(sample_scenes(5, range(first, first + count))).float()
    noise = torch.from_numpy(np.random.default_rng(first).normal(0, 12, scenes.shape)).float()
    grown = torch.nn.functional.interpolate(scenes + noise, size, mode="bilinear")
    return grown.round().clamp(0, 255).to(torch.uint8)


@pytest.mark.parametrize("size", SIZES)
def test_vectors_are_torch_fidelitys_resize_included(weights: Path, size: tuple[int, int]) -> None:
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    theirs = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], feature_extractor_weights_path=str(weights))
    images = _pictures(3, size)
    found = load_network("inception", str(weights))(images, None)
    (expected,) = theirs(images)
    assert found.shape == (3, 2048)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 1e-2


def _pytorch_fid(weights: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from pytorch_fid import inception

    state = torch.load(weights, weights_only=True)
    monkeypatch.setattr(inception, "load_state_dict_from_url", lambda *args, **options: state)
    return inception.InceptionV3([3], resize_input=True, normalize_input=True).eval()


def test_vectors_of_pytorchs_resizing_are_pytorch_fids(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = _pictures(3, (96, 150))
    with torch.no_grad():
        expected = _pytorch_fid(weights, monkeypatch)(images.float() / 255)[0][:, :, 0, 0]
    found = load_network("inception_pytorch", str(weights))(images, None)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", SIZES)
def test_clean_resizing_is_clean_fids(weights: Path, size: tuple[int, int]) -> None:
    from cleanfid.resize import build_resizer

    from seedml.networks.inception import CLEAN

    images = _pictures(3, size)
    resize = build_resizer("clean")
    for image, found in zip(images, CLEAN.of(images), strict=True):
        expected = (resize(image.permute(1, 2, 0).numpy()) - 128) / 128
        np.testing.assert_allclose(found.permute(1, 2, 0), expected, atol=2e-5)


def test_the_three_ways_to_resize_give_three_kinds_of_vectors(weights: Path) -> None:
    images = _pictures(2, (128, 128))
    names = ("inception", "inception_clean", "inception_pytorch")
    networks = [load_network(name, str(weights)) for name in names]
    assert len({network.resize for network in networks}) == 3
    found = [network(images, None) for network in networks]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert (found[one] - found[other]).abs().max() > 1e-3
    assert len({network.weights for network in networks}) == 1
    assert len(networks[0].weights) == 64


def test_safetensors_and_old_files_without_counters_are_read_as_well(weights: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {name: value for name, value in torch.load(weights, weights_only=True).items() if "num_batches" not in name}
    save_file(state, tmp_path / "weights.safetensors")
    images = _pictures(1, (128, 128))
    torch.testing.assert_close(
        load_network("inception", str(tmp_path / "weights.safetensors"))(images, None),
        load_network("inception", str(weights))(images, None), rtol=0, atol=0,
    )  # fmt: skip


def test_a_row_does_not_depend_on_its_companions(weights: Path) -> None:
    network, images = load_network("inception", str(weights)), _pictures(4, (64, 64))
    together = network(images, None)
    for row in range(4):
        torch.testing.assert_close(network(images[row : row + 1], None)[0], together[row], rtol=1e-4, atol=1e-4)


class _Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return pytest.fail, ("a pickle was opened",)


@pytest.mark.filterwarnings("error::UserWarning")
def test_wrong_weights_are_told_in_one_line_with_the_remedy(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "empty"))
    state = torch.load(weights, weights_only=True)
    files = {
        "torchvision.pth": {"fc.weight": torch.zeros(1000, 2048), "fc.bias": torch.zeros(1000)},
        "auxiliary.pth": {"AuxLogits.fc.weight": torch.zeros(1000, 768)},
        "headless.pth": {name: value for name, value in state.items() if not name.startswith("fc.")},
        "numbers.pth": {"epoch": 3},
        "list.pth": [torch.zeros(3)],
    }
    for name, content in files.items():
        torch.save(content, tmp_path / name)
    (tmp_path / "bomb.pth").write_bytes(pickle.dumps(_Bomb()))
    (tmp_path / "torn.pth").write_bytes(weights.read_bytes()[:5000])
    (tmp_path / "torn.safetensors").write_bytes(b"\x08\0\0")
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "program.pt")
    for name, words in {
        "torchvision.pth": r"these are torchvision's weights.*remedy: take weights-inception",
        "auxiliary.pth": r"these are torchvision's weights.*remedy: take",
        "headless.pth": r"not the weights of FID's Inception: fc\.weight is missing, fc\.bias is missing.*remedy: take",
        "numbers.pth": r"holds no weights; .*remedy: take the file as",
        "list.pth": r"holds no weights by name.*remedy",
        "bomb.pth": r"pickle of more than weights; it is not opened.*remedy: take the file",
        "torn.pth": r"cannot be read as weights.*remedy",
        "torn.safetensors": r"no whole safetensors file.*remedy: download it again",
        "program.pt": r"cannot be read as weights.*TorchScript.*remedy",
        "nowhere.pth": r"no such file; given: .*legal: torch-fidelity \(downloads https.*remedy: correct the path",
    }.items():
        with pytest.raises(UserError, match=words) as caught:
            load_network("inception", str(tmp_path / name))
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith("measure.networks.inception")
    with pytest.raises(
        UserError, match=r"needs weights; legal: torch-fidelity.*remedy: set measure\.networks\.inception="
    ):
        load_network("inception")
    with pytest.raises(UserError, match=r"HF_HUB_OFFLINE forbids the download.*remedy: unset"):
        load_network("inception", "torch-fidelity")
    with pytest.raises(UserError, match=r"cannot be had from the hub.*remedy: check the name"):
        load_network("inception", "nobody/nothing/weights.pth@main")


def test_the_named_download_is_fetched_once_with_its_hash(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(url: str, path: str, hash_prefix: str, progress: bool) -> None:
        asked.append((url, hash_prefix))
        Path(path).write_bytes(weights.read_bytes())

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", fetch)
    published = DOWNLOADS["torch-fidelity"]
    assert published.sha256 == "6726825d"
    own = sha256_of(weights)[:8]
    monkeypatch.setitem(DOWNLOADS, "torch-fidelity", published._replace(sha256=own))
    for _ in range(2):
        load_network("inception", "torch-fidelity")
    ((url, digest),) = asked
    assert url.endswith("weights-inception-2015-12-05-6726825d.pth")
    assert digest == own
    monkeypatch.setitem(DOWNLOADS, "torch-fidelity", published)
    with pytest.raises(UserError, match=rf"not the published one.*{own}.*legal: sha256 6726825d….*remedy: delete it"):
        load_network("inception", "torch-fidelity")
    assert [path.name for path in (tmp_path / "hub" / "checkpoints").iterdir()] == [published.file]
    assert len(asked) == 1


def _folder(folder: Path, first: int, count: int = 20) -> Path:
    """Pictures of several sizes and kinds of file."""
    folder.mkdir()
    for number in range(count):
        (image,) = _pictures(1, SIZES[number % 2], first + number)
        kind = ("png", "bmp")[number % 2]
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number:03d}.{kind}")
    return folder


@pytest.mark.slow
def test_fid_of_two_folders_is_torch_fidelitys(weights: Path, tmp_path: Path) -> None:
    """From the same random file of weights, resize included; theirs by eigenvalues of a product of 2,048² matrices."""
    from torch_fidelity import calculate_metrics

    folders = [_folder(tmp_path / "one", 0), _folder(tmp_path / "other", 500)]
    network = load_network("inception", str(weights))
    embed = lambda images: network(images, None)  # noqa: E731
    found = [
        make_reference(ReferenceConfig(path=str(folder)), [], network, embed, torch.device("cpu"), 8)
        for folder in folders
    ]
    assert isinstance(found[0], ReferenceFeatures)
    assert isinstance(found[1], ReferenceFeatures)
    own, reference = (torch.from_numpy(part.features) for part in found)
    ours = float(frechet_distances_of_samples(own, Reference.of_samples(reference)))
    theirs = calculate_metrics(
        input1=str(folders[0]), input2=str(folders[1]), fid=True, cuda=False, verbose=False, cache=False,
        samples_find_ext="png,bmp", save_cpu_ram=True, batch_size=1,
        feature_extractor_weights_path=str(weights),
    )["frechet_inception_distance"]  # fmt: skip
    assert ours == pytest.approx(theirs, rel=1e-4)
    assert ours > 0.1
