"""Brightness, saturation, contrast, sharpness and symmetry against known answers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from seedml.attributes import AttributeBatch, load_attributes


def _measure(name: str, images: torch.Tensor) -> torch.Tensor:
    return dict(load_attributes([name])[name].measure(AttributeBatch(images, [""] * len(images))))[name]


def _flat(*colours: tuple[int, int, int]) -> torch.Tensor:
    return torch.tensor(colours, dtype=torch.uint8)[:, :, None, None].repeat(1, 1, 64, 64)


def _gray(levels: np.ndarray) -> torch.Tensor:
    """``N × H × W`` levels -> ``N × 3 × H × W`` uint8."""
    return torch.from_numpy(levels.round().clip(0, 255)).to(torch.uint8)[:, None].repeat(1, 3, 1, 1)


def test_brightness_is_cielabs_lightness() -> None:
    found = _measure("brightness", _flat((0, 0, 0), (255, 255, 255), (119, 119, 119), (255, 0, 0), (0, 0, 255)))
    np.testing.assert_allclose(found, [0, 100, 50.03, 53.24, 32.30], atol=0.05)


def test_saturation_is_the_share_of_colour() -> None:
    found = _measure("saturation", _flat((0, 0, 0), (255, 255, 255), (90, 90, 90), (255, 0, 0), (0, 0, 255)))
    red, blue = 104.55 / math.hypot(104.55, 53.24), 133.81 / math.hypot(133.81, 32.30)
    np.testing.assert_allclose(found, [0, 0, 0, red, blue], atol=1e-3)
    dark = _flat((90, 90, 90))
    dark[0, 2, 0, 0] = 91
    assert _measure("saturation", dark).item() < 1e-3  # one pixel, one level


def test_contrast_is_the_deviation_of_luma() -> None:
    halves = _flat((0, 0, 0), (60, 60, 60), (7, 7, 7))
    halves[0, :, :, 32:], halves[1, :, 32:] = 255, 160
    np.testing.assert_allclose(_measure("contrast", halves), [0.5, 50 / 255, 0], atol=1e-4)
    colours = np.random.default_rng(0).integers(0, 256, (4, 3, 33, 21))
    luma = np.tensordot(colours, [0.299, 0.587, 0.114], (1, 0))
    found = _measure("contrast", torch.from_numpy(colours).to(torch.uint8))
    np.testing.assert_allclose(found, luma.std((1, 2)) / 255, rtol=1e-4)


def test_sharpness_of_noise_and_of_a_chessboard() -> None:
    noise = np.random.default_rng(1).normal(128, 30, (3, 256, 256))
    np.testing.assert_allclose(_measure("sharpness", _gray(noise)), math.sqrt(20), rtol=0.02)
    board = np.indices((1, 64, 64)).sum(0) % 2 * 255.0
    assert _measure("sharpness", _gray(board)).item() == pytest.approx(8, abs=1e-4)


def test_sharpness_falls_with_blur_and_knows_no_contrast() -> None:
    noise = np.random.default_rng(2).normal(128, 40, (1, 256, 256))
    blurred = (noise + np.roll(noise, 1, 1) + np.roll(noise, 1, 2) + np.roll(noise, (1, 1), (1, 2))) / 4
    faint = 128 + (noise - 128) / 3
    sharp, soft, pale = (_measure("sharpness", _gray(x)).item() for x in (noise, blurred, faint))
    assert soft < 0.7 * sharp
    assert pale == pytest.approx(sharp, rel=0.02)
    enlarged = _gray(noise).repeat_interleave(2, 2).repeat_interleave(2, 3)
    assert _measure("sharpness", enlarged).item() < 0.8 * sharp


def test_symmetry_of_mirrored_and_of_opposite_halves() -> None:
    half = np.random.default_rng(3).integers(0, 256, (1, 64, 32)).repeat(2, 1).repeat(2, 2).astype(float)
    mirrored = np.concatenate([half, half[:, :, ::-1]], 2)
    assert _measure("symmetry", _gray(mirrored)).item() == pytest.approx(1, abs=1e-4)
    dark_light = _flat((0, 0, 0))
    dark_light[:, :, :, 32:] = 255
    assert _measure("symmetry", dark_light).item() == pytest.approx(-1, abs=1e-4)
    unrelated = np.random.default_rng(4).integers(0, 256, (20, 32, 32)).astype(float)
    assert _measure("symmetry", _gray(unrelated)).abs().max() < 0.15
    sky = _flat((0, 0, 0))
    sky[:, :, :20] = 200
    assert _measure("symmetry", sky).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", ["brightness", "saturation", "symmetry"])
def test_the_resolution_does_not_matter_where_it_should_not(name: str) -> None:
    small = torch.from_numpy(np.random.default_rng(5).integers(0, 256, (3, 3, 32, 32))).to(torch.uint8)
    large = small.repeat_interleave(4, 2).repeat_interleave(4, 3)
    torch.testing.assert_close(_measure(name, small), _measure(name, large), rtol=1e-4, atol=1e-4)


def test_only_uint8_pictures_are_measured() -> None:
    for wrong in (torch.full((1, 3, 8, 8), torch.nan), torch.zeros(1, 1, 8, 8, dtype=torch.uint8),
                  torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(1, 3, 0, 8, dtype=torch.uint8)):  # fmt: skip
        with pytest.raises(ValueError, match="N × 3 × H × W uint8"):
            AttributeBatch(wrong, [""])
