"""A file of random weights for FID's Inception, as torch-fidelity's own is made up."""

from __future__ import annotations

from pathlib import Path

import torch
from torchvision.models import Inception3

from seedml.noise import seeded


def write_random_inception(path: Path, classes: int = 1008) -> Path:
    """Weights of a size that keeps signals alive through all layers."""
    with seeded(11):
        state = Inception3(classes, aux_logits=False, init_weights=False).state_dict()
        for name, tensor in state.items():
            if name.endswith("conv.weight"):
                tensor.copy_(torch.randn(tensor.shape) * (2 / tensor[0].numel()) ** 0.5)
            elif name.endswith(("running_var", "bn.weight")):
                tensor.copy_(torch.rand(tensor.shape) + 0.5)
            elif name.endswith(("running_mean", "bn.bias")):
                tensor.copy_(torch.randn(tensor.shape) * 0.2)
    torch.save(state, path)
    return path
