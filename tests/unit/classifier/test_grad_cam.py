"""The layer, the maps and the test of hiding on networks that are known to look at one corner."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from seedml.classifier.grad_cam import (
    Layer,
    _HidingTest,
    _Kept,
    _of_another_seed,
    attention_maps,
    hide,
    watched_layer,
)
from seedml.classifier.module import SeedClassifier
from seedml.shards.reader import Sample


class Corner(nn.Module):
    """Class k is the k-th colour channel of the upper left quarter; the rest of the picture does not count."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.conv.weight.copy_(torch.eye(3)[:, :, None, None])

    def forward(self, images: Tensor) -> Tensor:
        maps = self.conv(images.float() / 255)
        return maps[:, :, :8, :8].mean((2, 3))


def pictures(n: int = 12) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)


def sample(seed: int, prompt_id: int) -> Sample:
    return Sample(seed, prompt_id, "x", "test", "0" * 64, b"")


@pytest.mark.parametrize(
    ("side", "name", "cells", "method"),
    [(32, "layer1", 8, "LayerCAM"), (64, "layer2", 8, "LayerCAM"), (224, "layer4", 7, "GradCAM")],
)
def test_the_layer_is_the_deepest_that_still_knows_places(side, name, cells, method):
    layer = watched_layer(SeedClassifier("resnet18", [1, 2, 3], image_size=side).eval(), side)
    assert layer.name.endswith(name)
    assert layer.cells == (cells, cells)
    assert layer.method == method


def test_maps_mark_what_the_network_looks_at():
    network = Corner()
    maps = attention_maps(network, Layer("conv", network.conv, (16, 16), last=False), pictures(), [0, 1, 2] * 4)
    assert maps.shape == (12, 16, 16)
    assert maps.dtype == np.float32
    assert maps.max((1, 2)) == pytest.approx(1, abs=1e-4)
    outside = maps.copy()
    outside[:, :9, :9] = 0  # the library's resizing may smear by a pixel
    assert np.abs(outside).max() == 0
    assert all(parameter.grad is None for parameter in network.parameters())


def test_hiding_takes_the_highest_part_and_no_more():
    images = pictures(3)
    maps = np.zeros((3, 16, 16), np.float32)
    maps[:, 4:8, 0:8] = 1
    hidden = hide(images, maps, 32 / 256)
    mean = images.mean((1, 2)).round()
    assert (hidden[:, 4:8, 0:8] == mean[:, None, None]).all()
    hidden[:, 4:8, 0:8] = images[:, 4:8, 0:8]
    assert np.array_equal(hidden, images)


def test_a_flat_map_hides_no_side_rather_than_another():
    images = np.zeros((200, 16, 16, 3), np.uint8)
    images[:, 0, 0] = 255  # so that the mean is another colour
    hidden = (hide(images, np.zeros((200, 16, 16), np.float32), 0.25) != images).any(3)
    assert hidden.mean((0, 2)) == pytest.approx(0.25, abs=0.03)


class Knows:
    """Right about every picture whose upper left pixel is untouched."""

    seeds = np.arange(4)

    def places(self, images: np.ndarray, seeds: list[int]) -> np.ndarray:
        return (images[:, 0, 0, 0] != 255).astype(np.int64)


def test_own_maps_are_compared_with_those_of_other_seeds():
    seeds = np.repeat(np.arange(4), 4)
    images = np.zeros((16, 16, 16, 3), np.uint8)
    images[:, 0, 0] = 255
    maps = np.random.default_rng(0).random((16, 16, 16)).astype(np.float32) / 2
    maps[:4, 0, 0] = 1  # only maps of seed 0 mark what counts
    test = _HidingTest(Knows())  # type: ignore[arg-type]
    test.add(images, seeds, maps)
    figures = test.figures(0.95)
    assert figures["intact"]["value"] == 1
    assert figures["most"]["value"] <= 12 / 16
    assert figures["most"]["n"] == 16
    assert figures["most"]["chance"] == 0.25


def test_another_seeds_map_is_never_ones_own():
    seeds, others = np.array([1, 1, 2, 3]), np.array([1, 2, 3, 3, 2, 1])
    maps = np.arange(6, dtype=np.float32)[:, None, None]
    for draw in range(20):
        drawn = others[_of_another_seed(seeds, others, maps, draw)[:, 0, 0].astype(int)]
        assert (drawn != seeds).all()


def test_means_are_over_pictures_of_equal_weight_and_leave_out_empty_maps():
    kept = _Kept(np.array([5, 9]))
    maps = np.zeros((3, 4, 4), np.float32)
    maps[0, 0, 0], maps[1, :, 1] = 1.0, 0.5
    kept.add([sample(5, 0), sample(5, 1), sample(9, 0)], np.array([0, 0, 1]), maps)
    found = kept.attention()
    expected = np.zeros((4, 4))
    expected[0, 0] = 16 / 2
    expected[:, 1] = 4 / 2
    assert found.seed_maps[0] == pytest.approx(expected)
    assert found.seed_maps[1].max() == 0
    assert found.picture_seeds.tolist() == [5, 5, 9]
    assert found.picture_prompt_ids.tolist() == [0, 1, 0]


def test_maps_are_written_whole(tmp_path):
    from safetensors.numpy import load_file

    kept = _Kept(np.array([5, 9]))
    kept.add([sample(5, 0), sample(9, 0)], np.array([0, 1]), np.random.default_rng(0).random((2, 20, 20), np.float32))
    kept.attention().save(tmp_path / "grad_cam.safetensors", {"layer": "x"})
    back = load_file(tmp_path / "grad_cam.safetensors")
    assert back["picture_maps"].shape == (2, 16, 16)
    assert back["picture_maps"].dtype == np.uint8
    assert back["seed_maps"].mean((1, 2)) == pytest.approx(1, abs=1e-5)
