"""The Inception network that FID is defined by, in PyTorch: vectors of 2,048 numbers, three ways to resize.

FID was made with a TensorFlow graph (``inception-2015-12-05``), whose weights torch-fidelity and pytorch-fid
converted. torchvision's Inception has nearly the same layers and names but other weights and other pooling, and takes
FID's weights without a word if asked to: its weights are refused here. The way a picture is brought to 299 × 299 pixels
changes FID by more than seeds do (Parmar, Zhang & Zhu 2022, "On aliased resizing and surprising subtleties in GAN
evaluation"), so each way is a network of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models import inception as torchvision_inception

from seedml.errors import UserError
from seedml.networks.files import Download, Weights, fill, find_file, read_weights

if TYPE_CHECKING:
    from seedml.models.bundled.parser import SceneReading

SIDE = 299
DIMENSION = 2048
CLASSES = 1008
"""Of the graph's last layer; torchvision's has 1,000."""
PUBLISHED = "6726825d"
"""SHA-256 of the published conversion begins so; any other file's distances compare with no published FID."""
_RELEASE = "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0"
DOWNLOADS = {"torch-fidelity": Download(f"{_RELEASE}/weights-inception-2015-12-05-6726825d.pth", PUBLISHED)}
WEIGHTS = "torch-fidelity (downloads the published weights, 91 MiB), or the path of that file"
_REMEDY = "take weights-inception-2015-12-05-6726825d.pth of torch-fidelity (the file of pytorch-fid is the same)"
AT_ONCE = 32
"""Pictures that go through the network together, whatever the batch."""


class Resize(NamedTuple):
    """How pictures come to 299 × 299 pixels and to about −1..1."""

    words: str
    of: Callable[[Tensor], Tensor]
    """``N × 3 × H × W`` uint8 -> ``N × 3 × 299 × 299`` float32."""


def _as_tensorflow(images: Tensor) -> Tensor:
    """``tf.image.resize_bilinear`` of TensorFlow 1: samples at ``i · in / out``, so pictures shrink with aliases."""
    levels = images.float()
    if images.shape[2:] != (SIDE, SIDE):
        for dim in (3, 2):
            levels = _sampled(levels, dim)
    return (levels - 128) / 128


def _sampled(levels: Tensor, dim: int) -> Tensor:
    """One dimension resized to :data:`SIDE`, linearly between the two nearest places."""
    length = levels.shape[dim]
    places = torch.arange(SIDE, dtype=torch.float32, device=levels.device) * torch.tensor(length / SIDE)
    low = places.long()
    share = (places - low).view([-1 if dim == 2 else 1, 1 if dim == 2 else -1])
    below, above = (levels.index_select(dim, at) for at in (low, (low + 1).clamp_max(length - 1)))
    return below + (above - below) * share


def _clean(images: Tensor) -> Tensor:
    """Pillow's bicubic on each channel in float, cut to 0..255, not rounded (clean-fid's mode ``clean``)."""
    levels = images.float()
    if images.shape[2:] != (SIDE, SIDE):
        levels = F.interpolate(levels, (SIDE, SIDE), mode="bicubic", antialias=True, align_corners=False)
    return (levels.clamp(0, 255) - 128) / 128


def _as_pytorch(images: Tensor) -> Tensor:
    """``F.interpolate``, bilinear without antialiasing (pytorch-fid, and clean-fid's mode ``legacy_pytorch``)."""
    levels = F.interpolate(images.float() / 255, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return 2 * levels - 1


TENSORFLOW = Resize("bilinear as TensorFlow 1 does it (torch-fidelity), to 299 x 299", _as_tensorflow)
CLEAN = Resize("bicubic, antialiased, in float (clean-fid's mode clean), to 299 x 299", _clean)
PYTORCH = Resize("bilinear, not antialiased (pytorch-fid), to 299 x 299", _as_pytorch)


class _Pooled:
    """Pooling as in FID's graph: the mean leaves out padding, and the last block takes the maximum.

    The rest of the block is torchvision's; its own pooled branch is computed and dropped, a twentieth of the work.
    """

    largest = False
    branch_pool: Any

    def _forward(self, x: Tensor) -> list[Tensor]:
        *branches, _ = super()._forward(x)  # type: ignore[misc]
        if self.largest:
            return [*branches, self.branch_pool(F.max_pool2d(x, 3, 1, 1))]
        return [*branches, self.branch_pool(F.avg_pool2d(x, 3, 1, 1, count_include_pad=False))]


class _BlockA(_Pooled, torchvision_inception.InceptionA):  # type: ignore[misc]
    pass


class _BlockC(_Pooled, torchvision_inception.InceptionC):  # type: ignore[misc]
    pass


class _BlockE(_Pooled, torchvision_inception.InceptionE):  # type: ignore[misc]
    pass


def build_inception(key: str, weights: Weights) -> torchvision_inception.Inception3:
    """FID's Inception on the CPU: ``N × 3 × 299 × 299`` about −1..1 -> ``N × 2048``.

    Raises:
        UserError: these are other weights, such as torchvision's.

    """
    classes = weights.tensors.get("fc.weight")
    if any(name.startswith("AuxLogits.") for name in weights.tensors) or (
        classes is not None and len(classes) != CLASSES
    ):
        raise UserError(
            f"{key}: these are torchvision's weights, trained on other pictures: distances would be no FID",
            given=weights.given, legal=WEIGHTS, remedy=_REMEDY,
        )  # fmt: skip
    kinds = torchvision_inception
    blocks: list[Any] = [
        kinds.BasicConv2d, _BlockA, kinds.InceptionB, _BlockC, kinds.InceptionD, _BlockE, kinds.InceptionAux
    ]  # fmt: skip
    with torch.device("meta"):
        network = kinds.Inception3(CLASSES, aux_logits=False, inception_blocks=blocks, init_weights=False)
    network.Mixed_7c.largest = True
    fill(key, network, weights, "FID's Inception", _REMEDY)
    network.fc = torch.nn.Identity()
    return network


class InceptionFeatures:
    """Vectors of FID's Inception, after its last pooling.

    Args:
        name: of the feature network.
        given: a path, or ``torch-fidelity``.
        resize: how pictures are resized.

    Raises:
        UserError: no such file, or other weights.

    """

    dimension = DIMENSION
    needs_reading = False

    def __init__(self, name: str, given: str, resize: Resize) -> None:
        key = f"measure.networks.{name}"
        weights = read_weights(key, find_file(key, given, DOWNLOADS), given)
        self.name, self.resize, self._resized = name, *resize
        self.weights = weights.sha256
        self.version = f"1 {weights.sha256[:16]}"
        self._network = build_inception(key, weights)

    def to(self, device: torch.device) -> InceptionFeatures:
        """Move the weights."""
        self._network.to(device)
        return self

    @torch.inference_mode()
    def __call__(self, images: Tensor, reading: SceneReading | None) -> Tensor:
        """``N × 2048`` float32."""
        parts = [self._network(self._resized(part)) for part in torch.split(images, AT_ONCE)]
        return torch.cat(parts).float()
