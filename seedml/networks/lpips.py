"""LPIPS (Zhang et al. 2018, "The unreasonable effectiveness of deep features as a perceptual metric") as vectors.

LPIPS of two pictures is a sum over five or seven layers of squared differences of unit-length features, weighted by
channel and averaged over places. So it is the squared Euclidean distance of two long vectors, which a picture has by
itself, whatever it is compared with:

    LPIPS(x, y) = Σ_l 1/(h_l w_l) Σ_p Σ_c w_lc (x_lcp − y_lcp)² = |v(x) − v(y)|²

The backbone's weights are torchvision's; those of the channels come with torchmetrics.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedml.errors import UserError
from seedml.networks.files import Download, Weights, fill, find_file, read_weights

SMALLEST = 64
"""Shorter side in pixels from which on every layer of every backbone has a place left."""
_SITE = "https://download.pytorch.org/models"
DOWNLOADS = {
    "alex": Download(f"{_SITE}/alexnet-owt-7be5be79.pth", "7be5be79"),
    "vgg": Download(f"{_SITE}/vgg16-397923af.pth", "397923af"),
    "squeeze": Download(f"{_SITE}/squeezenet1_1-b8a52dc0.pth", "b8a52dc0"),
}
"""torchvision's weights by LPIPS's name of the backbone."""
WEIGHTS = "alex, vgg or squeeze (downloads torchvision's weights: 233, 528 or 5 MB), or the path of such a file"
_LAYERS = {"alex": (2, 5, 8, 10, 12), "vgg": (4, 9, 16, 23, 30), "squeeze": (2, 5, 8, 10, 11, 12, 13)}
"""Backbone -> after which of its modules features are taken, counted from 1."""
_BUILDERS = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}
_SHIFT, _SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)
"""Of levels −1..1."""
_TINY = 1e-8


class Lpips(nn.Module):
    """Pictures -> the vectors whose squared distance is LPIPS, on the CPU.

    Args:
        key: configuration key, for errors.
        given: ``alex``, ``vgg``, ``squeeze``, or the path of torchvision's weights of one of these.

    Raises:
        UserError: no such file, or other weights.

    """

    def __init__(self, key: str, given: str) -> None:
        import torchvision

        super().__init__()
        weights = read_weights(key, find_file(key, given, DOWNLOADS), given)
        self.backbone = _backbone_of(key, weights)
        self.sha256 = weights.sha256
        with torch.device("meta"):
            network: Any = getattr(torchvision.models, _BUILDERS[self.backbone])().features
        fill(key, network, weights.starting_with("features."), f"torchvision's {_BUILDERS[self.backbone]}",
             f"name {self.backbone} to download them, or the path of that file")  # fmt: skip
        self.network = network
        self.roots = nn.ParameterList(_channel_roots(self.backbone)).requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """``N × 3 × H × W`` uint8 -> ``N × E`` float32; E grows with the picture."""
        x = images.float() / 127.5 - 1
        least = min(x.shape[2:])
        if least < SMALLEST:
            x = F.interpolate(x, scale_factor=SMALLEST / least, mode="bilinear", align_corners=False)
        shift, scale = (torch.tensor(part, device=x.device)[None, :, None, None] for part in (_SHIFT, _SCALE))
        x = (x - shift) / scale
        kept: list[Tensor] = []
        for number, module in enumerate(self.network, start=1):
            x = module(x)
            if number in _LAYERS[self.backbone]:
                kept.append(self._entries(x, len(kept)))
            if number == _LAYERS[self.backbone][-1]:
                break
        return torch.cat(kept, 1)

    def _entries(self, features: Tensor, layer: int) -> Tensor:
        """One layer's part of the vector: ``N × C × h × w`` -> ``N × C·h·w``."""
        unit = features / (features.square().sum(1, keepdim=True) + _TINY).sqrt()
        places = features.shape[2] * features.shape[3]
        entries: Tensor = unit * self.roots[layer][:, None, None] / places**0.5
        return entries.flatten(1)


def _backbone_of(key: str, weights: Weights) -> str:
    """Which network a file is of, by the shape of its first weights."""
    first = weights.tensors.get("features.0.weight")
    shape = None if first is None else tuple(first.shape)
    if shape == (64, 3, 11, 11):
        return "alex"
    if shape == (64, 3, 3, 3):
        return "squeeze" if "features.3.squeeze.weight" in weights.tensors else "vgg"
    raise UserError(f"{key}: these are the weights of none of LPIPS's backbones", given=weights.given, legal=WEIGHTS,
                    remedy="name alex to download torchvision's AlexNet")  # fmt: skip


def _channel_roots(backbone: str) -> list[nn.Parameter]:
    """√w of each layer's channels, ``C`` float32: from the file that torchmetrics ships."""
    import torchmetrics.functional.image.lpips as theirs

    path = Path(theirs.__file__).parent / "lpips_models" / f"{backbone}.pth"
    tensors = read_weights("lpips", path, backbone).tensors
    weights = [tensors[f"lin{layer}.model.1.weight"].flatten().float() for layer in range(len(_LAYERS[backbone]))]
    return [nn.Parameter(weight.clamp(min=0).sqrt()) for weight in weights]
