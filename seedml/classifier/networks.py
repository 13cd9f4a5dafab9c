"""Torchvision's classification networks by name, untrained, for a number of classes and a size of images."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from seedml.errors import UserError, unknown_name
from seedml.noise import seeded

_WITHOUT_AUXILIARY = {"aux_logits": False, "init_weights": True}
"""One output in training too; the weights' own initialisation, without a warning."""


def build_network(architecture: str, n_classes: int, image_size: int) -> nn.Module:
    """A network: N × 3 × S × S float -> N × ``n_classes`` logits.

    Args:
        architecture: its name in torchvision.
        n_classes: K.
        image_size: S; some networks are made for one size.

    Raises:
        UserError: torchvision has no such network.

    """
    import torchvision

    known = torchvision.models.list_models(module=torchvision.models)
    if architecture not in known:
        raise unknown_name("value of classifier.architecture", architecture, known)
    options = _options(architecture, image_size)
    network: nn.Module = torchvision.models.get_model(architecture, weights=None, num_classes=n_classes, **options)
    for module in network.modules():
        if type(module) is nn.Conv2d and module.padding_mode == "zeros":
            module.__class__ = _WithoutPadding
    return network


class _WithoutPadding(nn.Conv2d):
    """The same convolution, which multiplies no padding where all of its input makes a single pixel.

    Small images end in maps of 1 × 1, of which a kernel of 3 × 3 meets one ninth; gradients of the rest are 0. Torch
    computes them all the same: a fifth of a ResNet-18's training step at 32 px.
    """

    def forward(self, input: Tensor) -> Tensor:
        """N × C × H × W -> N × K × H' × W'."""
        padding, size = self.padding, tuple(input.shape[2:])
        if isinstance(padding, str) or self.dilation != (1, 1) or not any(padding):
            return super().forward(input)
        outputs = [
            (n + 2 * p - k) // s for n, p, k, s in zip(size, padding, self.kernel_size, self.stride, strict=True)
        ]
        if any(outputs):
            return super().forward(input)
        (top, left), (height, width) = padding, size
        kernel = self.weight[:, :, top : top + height, left : left + width]
        return F.conv2d(input[:, :, : kernel.shape[2], : kernel.shape[3]], kernel, self.bias, groups=self.groups)


def _options(architecture: str, image_size: int) -> dict[str, Any]:
    """What a family of networks has to be told beyond the number of classes."""
    if architecture in ("googlenet", "inception_v3"):
        return dict(_WITHOUT_AUXILIARY)
    if architecture.startswith("vit_"):
        return {"image_size": image_size}
    return {"input_size": (image_size, image_size)} if architecture.startswith("maxvit") else {}


def check_network(architecture: str, image_size: int) -> None:
    """Refuse a network that cannot take images of this size; computes nothing.

    Raises:
        UserError: torchvision has no such network, or it needs other images.

    """
    try:
        with seeded(0), torch.no_grad():
            network = build_network(architecture, 2, image_size).to("meta").eval()  # shapes only
            network(torch.empty(2, 3, image_size, image_size, device="meta"))
    except UserError:
        raise
    except (RuntimeError, ValueError, AssertionError) as error:
        reason = str(error).strip().splitlines()
        raise UserError(
            f"{architecture} takes no images of {image_size} px" + (f" ({reason[0].rstrip('.')})" if reason else ""),
            given=f"classifier.image_size={image_size}", legal="a size that the network is made for, often 224",
            remedy="set classifier.image_size=…, or another classifier.architecture=…",
        ) from error  # fmt: skip
