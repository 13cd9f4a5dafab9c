"""Torchvision's classification networks by name, untrained, for a number of classes and a size of images."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

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
    return network


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
