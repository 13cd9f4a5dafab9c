"""LPIPS as vectors, against torchmetrics' own forward pass from the same random backbone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

from seedml.errors import UserError
from seedml.features import load_network
from seedml.networks.lpips import Lpips
from seedml.noise import seeded

BUILDERS = {"alex": "alexnet", "squeeze": "squeezenet1_1"}


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    with seeded(3):
        coarse = torch.rand(4, 3, 12, 10)
        return torch.nn.functional.interpolate(coarse, (96, 80), mode="bicubic").mul(255).clamp(0, 255).byte()


def _weights(backbone: str, folder: Path) -> Path:
    with seeded(1):
        network = getattr(torchvision.models, BUILDERS[backbone])()
    state = {name: value for name, value in network.state_dict().items() if name.startswith("features.")}
    torch.save(state | {"classifier.6.bias": torch.zeros(3)}, folder / f"{backbone}.pth")
    return folder / f"{backbone}.pth"


def _theirs(backbone: str, path: Path) -> torch.nn.Module:
    from torchmetrics.functional.image import lpips

    network = lpips._LPIPS(pretrained=True, net=backbone, pnet_rand=True)
    state = torch.load(path, weights_only=True)
    slices = network.net.slices if backbone == "squeeze" else [getattr(network.net, f"slice{k}") for k in range(1, 6)]
    for number, module in (child for part in slices for child in part.named_children()):
        prefix = f"features.{number}."
        module.load_state_dict({n.removeprefix(prefix): value for n, value in state.items() if n.startswith(prefix)})
    return network.eval()


@pytest.mark.parametrize("backbone", BUILDERS)
def test_squared_distances_are_torchmetrics_lpips(backbone: str, images: torch.Tensor, tmp_path: Path) -> None:
    path = _weights(backbone, tmp_path)
    network, theirs = Lpips("key", str(path)), _theirs(backbone, path)
    levels = images.float() / 255
    with torch.no_grad():
        vectors = network(images)
    features = load_network("lpips", str(path))
    short = features.to(torch.device("cpu"))(images, None)
    assert short.shape == (4, features.dimension)
    for one in range(4):
        for other in range(one):
            with torch.no_grad():
                expected = theirs(levels[one : one + 1], levels[other : other + 1], normalize=True).squeeze()
            torch.testing.assert_close((vectors[one] - vectors[other]).square().sum(), expected, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close((short[one] - short[other]).square().sum(), expected, rtol=0.15, atol=1e-6)
            assert expected > 1e-4


def test_a_row_does_not_depend_on_its_companions_and_small_pictures_do(images: torch.Tensor, tmp_path: Path) -> None:
    features = load_network("lpips", str(_weights("squeeze", tmp_path)))
    together = features(images.repeat(3, 1, 1, 1), None)
    torch.testing.assert_close(features(images[2:3], None)[0], together[10], rtol=1e-4, atol=1e-5)
    assert torch.isfinite(features(images[:, :, :9, :9], None)).all()
    assert len(features.weights) == 64


def test_other_weights_are_refused_with_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "resnet.pth")
    torch.save({"features.0.weight": torch.zeros(64, 3, 11, 11)}, tmp_path / "part.pth")
    for given, words in (
        (str(tmp_path / "resnet.pth"), r"none of LPIPS's backbones.*remedy: name alex"),
        (str(tmp_path / "part.pth"), r"not the weights of torchvision's alexnet: 0\.bias is missing.*remedy"),
        ("alex", r"HF_HUB_OFFLINE forbids the download.*remedy: unset"),
        ("alexnet", r"no such file; .*legal: alex \(downloads.*remedy: correct"),
    ):
        with pytest.raises(UserError, match=rf"^measure\.networks\.lpips.*{words}"):
            load_network("lpips", given)
    with pytest.raises(UserError, match=r"lpips needs weights; legal: alex, vgg or squeeze"):
        load_network("lpips")
