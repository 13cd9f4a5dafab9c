"""The scene parser: reads a picture of seedling's world back into its labels.

A small network with many heads, trained on rendered scenes whose labels are exact. It is the bundled feature network
(for Fréchet distances), the caption-agreement score, and the ruler for layout. Outside seedling's world its readings
mean nothing.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from seedml.captions import COLOURS, GROUNDS, OBJECTS
from seedml.errors import UserError

SIDE = 128
FEATURES = 64
_AT_ONCE = 8
"""Pictures at a time on a CPU, whose cache then holds the activations: nearly twice the speed of 64."""
_WEIGHTS = "model.safetensors"
_CONFIG = "config.json"
_FLAGS = ("grayscale", "border", "border_white", "lettering")
_GRAM_LEVELS = 2  # and the stem: what comes later sees objects more than surfaces
_MEASURES = ("horizon", "time_of_day", "x", "y", "size", "depth")


class SceneReading(NamedTuple):
    """What the parser reads from N pictures; fractions of the side are measured from the top left."""

    features: Tensor
    """N×64 float32: what all readings but the mask are linear in."""
    object: Tensor
    """N×10 float32 logits."""
    colour: Tensor
    """N×10 float32 logits."""
    ground: Tensor
    """N×6 float32 logits."""
    grayscale: Tensor
    """N float32 probability."""
    border: Tensor
    """N float32 probability."""
    border_white: Tensor
    """N float32 probability that a border, if there is one, is white."""
    lettering: Tensor
    """N float32 probability."""
    horizon: Tensor
    """N float32: share of the height above the horizon."""
    time_of_day: Tensor
    """N float32: 0 night, 1 noon."""
    location: Tensor
    """N×2 float32: x and y of the centre of the object's box."""
    size: Tensor
    """N float32: square root of the area of the object's box."""
    depth: Tensor
    """N float32: 0 nearest, 1 farthest."""
    mask: Tensor
    """N×128×128 float32: probability that the object covers the pixel."""
    grams: Tensor | None = None
    """N×800 float32: :func:`gram` of the stem's output and of the first two levels, which style is taken from."""


class _Residual(nn.Module):
    """Two 3×3 convolutions with a shortcut; halves the picture when ``stride`` is 2."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.norm1: nn.Module = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.norm2: nn.Module = nn.BatchNorm2d(after)
        self.shortcut = nn.Identity() if before == after and stride == 1 else nn.Conv2d(before, after, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)), inplace=True)
        return F.relu(self.norm2(self.conv2(y)).add_(self.shortcut(x)), inplace=True)

    def fold(self) -> None:
        """Let the convolutions do what the normalisations did, whose statistics no longer change."""
        self.conv1, self.norm1 = fuse_conv_bn_eval(self.conv1, cast(nn.BatchNorm2d, self.norm1)), nn.Identity()
        self.conv2, self.norm2 = fuse_conv_bn_eval(self.conv2, cast(nn.BatchNorm2d, self.norm2)), nn.Identity()


class SceneParser(nn.Module):
    """Four levels down, three up to the mask; the mask tells the readings where to look.

    Args:
        channels: width of the levels at 64, 32, 16 and 8 pixels a side.

    """

    def __init__(self, channels: tuple[int, int, int, int] = (16, 32, 64, 128)) -> None:
        super().__init__()
        self.channels = channels
        a, b, c, d = channels
        self.stem = nn.Conv2d(3, a, 5, 2, 2)
        self.levels = nn.ModuleList(
            [
                _Residual(a, a, 1),
                nn.Sequential(_Residual(a, b, 2), _Residual(b, b, 1)),
                nn.Sequential(_Residual(b, c, 2), _Residual(c, c, 1)),
                nn.Sequential(_Residual(c, d, 2), _Residual(d, d, 1)),
            ]
        )
        self.ups = nn.ModuleList([nn.Conv2d(d, c, 1), nn.Conv2d(c, b, 1), nn.Conv2d(b, a, 1)])
        self.joins = nn.ModuleList([_Residual(c, c, 1), _Residual(b, b, 1), _Residual(a, a, 1)])
        self.to_mask = nn.Conv2d(a, 4, 3, 1, 1)
        pooled = 2 * d + 2 * (c + b + a) + 2
        self.neck = nn.Sequential(nn.Linear(pooled, 256), nn.ReLU(inplace=True), nn.Linear(256, FEATURES))
        self.categories = nn.Linear(FEATURES, len(OBJECTS) + len(COLOURS) + len(GROUNDS) + len(_FLAGS))
        self.measures = nn.Linear(FEATURES, len(_MEASURES))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images N×3×128×128 in [-1, 1] -> features N×64, category logits N×30, measures N×6, mask logits N×128×128."""
        return self._readings(self.activations(images)[1:])

    def activations(self, images: Tensor, levels: int = 4) -> list[Tensor]:
        """Images N×3×128×128 in [-1, 1] -> the stem's output and those of the first ``levels`` levels down."""
        found = [self.stem(images)]
        for level in self.levels[:levels]:
            found.append(level(found[-1]))
        return found

    def _readings(self, skips: list[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The levels' outputs -> what :meth:`forward` gives."""
        x, ups = skips[-1], []
        for up, join, skip in zip(self.ups, self.joins, skips[-2::-1], strict=True):
            x = join(F.interpolate(up(x), scale_factor=2.0, mode="nearest").add_(skip))
            ups.append(x)
        mask = F.pixel_shuffle(self.to_mask(x), 2)[:, 0]
        features = self.neck(torch.cat([_spread(skips[-1]), *(_looked_at(u, mask) for u in ups), _centroid(mask)], 1))
        return features, self.categories(features), self.measures(features), mask

    def folded(self) -> SceneParser:
        """Itself, for reading alone: faster, the same but for rounding, and no longer to be trained or saved."""
        for module in list(self.modules()):
            if isinstance(module, _Residual):
                module.fold()
        return self.to(memory_format=torch.channels_last)

    @torch.inference_mode()
    def read(self, images: Tensor) -> SceneReading:
        """Read a batch of pictures.

        Args:
            images: N×3×H×W uint8, 0..255, on the parser's device; other sizes are resized to 128 × 128 first.

        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise ValueError(f"the parser reads N×3×H×W uint8; given: {tuple(images.shape)} {images.dtype}")
        if images.device.type != "cpu" or len(images) <= _AT_ONCE:
            return self._read(images)
        parts = [self._read(part) for part in torch.split(images, _AT_ONCE)]
        return SceneReading(*(torch.cat(column) for column in zip(*parts, strict=True)))

    def _read(self, images: Tensor) -> SceneReading:
        activations = self.activations(prepared(images))
        features, categories, measures, mask = (t.float() for t in self._readings(activations[1:]))
        sizes = [len(OBJECTS), len(COLOURS), len(GROUNDS), len(_FLAGS)]
        objects, colours, grounds, flags = torch.split(categories, sizes, 1)
        gray, border, white, letters = flags.sigmoid().unbind(1)
        horizon, time, x_, y_, size, depth = measures.clamp(0, 1).unbind(1)
        return SceneReading(
            features, objects, colours, grounds, gray, border, white, letters, horizon, time,
            torch.stack([x_, y_], 1), size, depth, mask.sigmoid(), _grams(activations),
        )  # fmt: skip

    @torch.inference_mode()
    def grams(self, images: Tensor) -> Tensor:
        """``grams`` of a reading alone: N×3×H×W uint8 -> N×800 float32, for a third of the time."""
        return _grams(self.activations(prepared(images), _GRAM_LEVELS))

    def save(self, folder: Path) -> None:
        """Write weights (float16 safetensors) and shape into ``folder``."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        state = {k: v.half().contiguous() if v.is_floating_point() else v for k, v in self.state_dict().items()}
        save_file(state, folder / _WEIGHTS, metadata={"format": "pt"})
        (folder / _WEIGHTS).chmod(0o644)
        (folder / _CONFIG).write_text(json.dumps({"channels": list(self.channels)}) + "\n")


def prepared(images: Tensor) -> Tensor:
    """Pictures as the parser takes them: N×3×H×W uint8 -> N×3×128×128 float32 in [-1, 1], antialiased bilinear."""
    x = images.float().div_(127.5).sub_(1)
    return x if x.shape[-2:] == (SIDE, SIDE) else F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)


def gram(activations: Tensor) -> Tensor:
    """Which channels are active together: N×C×h×w -> N×C(C+1)/2 float32, upper triangle of X Xᵀ / (h w)."""
    channels = activations.shape[1]
    flat = activations.float().flatten(2)
    products = flat @ flat.transpose(1, 2) / flat.shape[2]
    upper = torch.triu_indices(channels, channels, device=flat.device)
    return products[:, upper[0], upper[1]]


def _grams(activations: list[Tensor]) -> Tensor:
    return torch.cat([gram(level) for level in activations[: 1 + _GRAM_LEVELS]], 1)


def _spread(x: Tensor) -> Tensor:
    """Mean and maximum over the picture: N×C×H×W -> N×2C."""
    return torch.cat([x.mean((2, 3)), x.amax((2, 3))], 1)


def _looked_at(x: Tensor, mask: Tensor) -> Tensor:
    """Mean under the mask and over the picture: N×C×H×W -> N×2C."""
    weight = F.adaptive_avg_pool2d(mask.sigmoid()[:, None], (x.shape[2], x.shape[3])).flatten(2)
    weight = weight / (weight.sum(2, keepdim=True) + 1e-3)
    return torch.cat([(x.flatten(2) * weight).sum(2), x.mean((2, 3))], 1)


def _centroid(mask: Tensor) -> Tensor:
    """Centre of gravity of the mask in fractions of the side: N×H×W logits -> N×2 (x, y)."""
    weight = mask.sigmoid()
    total = weight.sum((1, 2)) + 1e-3
    steps = (torch.arange(mask.shape[-1], device=mask.device, dtype=weight.dtype) + 0.5) / mask.shape[-1]
    return torch.stack([(weight.sum(1) * steps).sum(1) / total, (weight.sum(2) * steps).sum(1) / total], 1)


def parser_folder() -> Path:
    """Where the package keeps the parser's weights."""
    return Path(__file__).parent / "weights" / "parser"


def load_parser(device: torch.device | str = "cpu", folder: Path | None = None) -> SceneParser:
    """The trained parser in evaluation mode, float32, channels last.

    Args:
        device: where to put it.
        folder: where its weights are; the package's own by default.

    Raises:
        UserError: the folder holds no parser.

    """
    from safetensors.torch import load_file

    folder = folder or parser_folder()
    if not (folder / _WEIGHTS).is_file():
        raise UserError(f"no scene parser in {folder}", remedy="train one: seedml train seedling")
    shape = json.loads((folder / _CONFIG).read_text())
    parser = SceneParser(tuple(shape["channels"]))
    parser.load_state_dict(load_file(folder / _WEIGHTS))
    return parser.eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]
