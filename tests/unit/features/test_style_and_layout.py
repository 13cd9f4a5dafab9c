from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from seedml.features import load_network
from seedml.models.bundled import parser as bundled_parser


def _noise(count: int, side: int = 128, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 3, side, side), np.uint8))


def _texture(grain: int) -> Tensor:
    """Gray blobs of ``grain`` pixels."""
    small = _noise(1, 128 // grain)[:, :1].float()
    large = torch.nn.functional.interpolate(small, (128, 128), mode="bilinear").byte()
    return large.expand(1, 3, 128, 128).contiguous()


@pytest.mark.parametrize("name", ["style", "layout", "object_layout"])
def test_vectors_have_their_length_and_do_not_depend_on_companions(name: str) -> None:
    network, parser, images = load_network(name), bundled_parser.load_parser(), _noise(5)
    found = network(images, parser.read(images))
    assert found.shape == (5, network.dimension)
    assert found.dtype == torch.float32
    assert torch.isfinite(found).all()
    for row in range(5):
        alone = images[row : row + 1]
        torch.testing.assert_close(network(alone, parser.read(alone))[0], found[row], rtol=1e-4, atol=1e-4)


def test_style_is_the_same_with_and_without_the_parsers_reading_and_in_every_process() -> None:
    images = _noise(2, 96)
    first, again = load_network("style"), load_network("style")
    with_reading = first(images, bundled_parser.load_parser().read(images))
    torch.testing.assert_close(again(images, None), with_reading)


def test_style_sees_the_grain_and_not_its_place() -> None:
    network = load_network("style")
    fine, moved, coarse = _texture(4), _texture(4).roll((24, 40), (2, 3)), _texture(16)
    vectors = [network(image, None) for image in (fine, moved, coarse)]
    assert torch.dist(vectors[0], vectors[1]) < 0.2 * torch.dist(vectors[0], vectors[2])


def test_the_projection_keeps_distances() -> None:
    from seedml.features.style import projection

    points = np.random.default_rng(1).normal(size=(40, 800)).astype(np.float32)
    before = torch.pdist(torch.from_numpy(points))
    after = torch.pdist(torch.from_numpy(points) @ projection(800, 256))
    ratio = after / before
    assert abs(ratio.mean() - 1) < 0.02
    assert ratio.std() < 0.06


def test_layout_is_the_mean_colour_of_each_cell_in_cielab() -> None:
    image = torch.zeros(1, 3, 64, 80, dtype=torch.uint8)
    image[:, :, :8, :10] = 255  # the first cell is white
    image[:, 0, 8:16, :10] = 255  # that below it is red
    grid = load_network("layout")(image, None).reshape(3, 8, 8)
    torch.testing.assert_close(grid[:, 0, 0], torch.tensor([100.0, 0.0, 0.0]), atol=0.1, rtol=0)
    torch.testing.assert_close(grid[:, 1, 0], torch.tensor([53.24, 80.09, 67.2]), atol=0.1, rtol=0)
    assert grid[:, 1:, 1:].abs().max() < 0.01


def test_pictures_of_a_pixel_have_a_layout_and_a_style() -> None:
    image = torch.full((1, 3, 1, 1), 200, dtype=torch.uint8)
    for name in ("layout", "style"):
        assert torch.isfinite(load_network(name)(image, None)).all()


def test_object_layout_is_the_mask_and_unknown_without_the_parser() -> None:
    network, reading = load_network("object_layout"), bundled_parser.load_parser().read(_noise(1))
    mask = torch.zeros(1, 128, 128)
    mask[:, 16:32, 48:72] = 1
    grid = network(_noise(1), reading._replace(mask=mask)).reshape(8, 8)
    assert grid[1, 3] == 1
    assert grid[1, 4] == 0.5
    assert grid.sum() == 1.5
    assert torch.isnan(network(_noise(1), None)).all()


def test_where_images_are_not_seedlings_the_mask_counts_for_nothing_and_style_stays() -> None:
    from seedml.measurement.module import MeasurementModule, TileBatch
    from seedml.shards.reader import SampleBatch

    images, parser = _noise(2), bundled_parser.load_parser()
    networks = [load_network("style"), load_network("object_layout")]
    samples = SampleBatch(images, torch.arange(2), torch.arange(2), ["a castle", "a ship"])
    found = {
        scenes: MeasurementModule(load_network("bundled"), {}, parser, networks, scenes=scenes)
        .predict_step(TileBatch("test-000000", samples), 0)
        .vectors
        for scenes in (True, False)
    }
    assert torch.isfinite(found[True]["object_layout"]).all()
    assert torch.isnan(found[False]["object_layout"]).all()
    torch.testing.assert_close(found[True]["style"], found[False]["style"])
