"""Each damage does what its name says, to pictures of any shape: known answers on waves, ramps and noise."""

from __future__ import annotations

import numpy as np
import pytest

from seedml.classifier.corruptions import (
    blurred,
    corruptions,
    cropped,
    flipped,
    grayscale,
    high_pass,
    jpeg,
    low_pass,
    radial_frequencies,
    resized,
)
from seedml.classifier.robustness import UNTOUCHED
from seedml.classifier.split_images import reduced
from seedml.classifier.trained import reduced_pixels
from seedml.shards.format import encode_image


def wave(cycles: float, side: int = 64, amplitude: float = 60.0) -> np.ndarray:
    """Mid-gray with one cosine from left to right, which ends at the edges with a slope of zero."""
    row = 128 + amplitude * np.cos(2 * np.pi * cycles * (np.arange(side) + 0.5) / side)
    return np.rint(np.broadcast_to(row[None, :, None], (side, side, 3))).astype(np.uint8)


def noise(height: int = 40, width: int = 56) -> np.ndarray:
    return np.random.default_rng(0).integers(60, 200, (height, width, 3), dtype=np.uint8)


def amplitude(pixels: np.ndarray) -> float:
    return float(pixels.astype(float).std() * 2**0.5)


@pytest.mark.parametrize("damage", [UNTOUCHED, *corruptions(32)], ids=lambda damage: damage.name)
@pytest.mark.parametrize("shape", [(40, 56), (33, 17)])
def test_a_damaged_picture_keeps_its_shape_and_the_original_is_left_alone(damage, shape):
    pixels = noise(*shape)
    before = pixels.copy()
    damaged = damage.apply(pixels)
    assert damaged.shape == pixels.shape
    assert damaged.dtype == np.uint8
    assert np.array_equal(pixels, before)
    assert damage.description


def test_names_are_unique_and_cut_offs_are_below_what_the_network_sees():
    names = [damage.name for damage in corruptions(32)]
    assert len(set(names)) == len(names)
    assert [name for name in names if "pass" in name] == [
        f"{kind}_pass_{c}" for kind in ("low", "high") for c in (1, 2, 4, 8)
    ]
    assert "low_pass_64" in [damage.name for damage in corruptions(224)]
    assert "low_pass_16" not in names  # 32 pixels hold 16 cycles


@pytest.mark.parametrize("cycles", [1, 2.5, 6])
def test_a_wave_passes_below_the_cut_off_and_not_above(cycles):
    pixels = wave(cycles)
    whole = amplitude(pixels)
    assert amplitude(low_pass(pixels, cycles + 0.25)) == pytest.approx(whole, rel=0.02)
    assert amplitude(low_pass(pixels, cycles - 0.25)) < 0.02 * whole
    assert amplitude(high_pass(pixels, cycles - 0.25)) == pytest.approx(whole, rel=0.02)
    assert amplitude(high_pass(pixels, cycles + 0.25)) < 0.02 * whole


def test_a_diagonal_wave_has_the_frequency_of_both_directions_together():
    assert radial_frequencies(8, 8)[6, 8 - 1] == pytest.approx(np.hypot(3, 3.5))
    rows, columns = (np.cos(2 * np.pi * 3 * (np.arange(64) + 0.5) / 64) for _ in range(2))
    pixels = np.rint(128 + 60 * (rows[:, None] * columns)[:, :, None] + np.zeros(3)).astype(np.uint8)
    assert amplitude(low_pass(pixels, 4)) < 0.05 * amplitude(pixels)
    assert amplitude(low_pass(pixels, 4.5)) == pytest.approx(amplitude(pixels), rel=0.02)


@pytest.mark.parametrize("cut", [1, 2, 4, 8])
def test_low_and_high_frequencies_together_are_the_picture(cut):
    pixels = noise()
    together = low_pass(pixels, cut).astype(float) + high_pass(pixels, cut) - 127.5
    assert np.abs(together - pixels).max() <= 1  # both are rounded


def test_blur_leaves_half_of_twelve_cycles():
    assert amplitude(blurred(wave(12, 128), 1 / 64)) == pytest.approx(0.5 * amplitude(wave(12, 128)), rel=0.02)


def test_jpeg_loses_more_at_lower_quality_and_little_of_a_smooth_picture():
    pixels = noise()
    errors = [np.abs(jpeg(pixels, quality).astype(float) - pixels).mean() for quality in (95, 75, 50)]
    assert 0 < errors[0] < errors[1] < errors[2]
    assert np.abs(jpeg(wave(1), 75).astype(float) - wave(1)).max() < 8


def test_resizing_keeps_coarse_waves_and_loses_fine_ones():
    assert amplitude(resized(wave(3), 0.5)) == pytest.approx(amplitude(wave(3)), rel=0.02)
    assert amplitude(resized(wave(28), 0.5)) < 0.1 * amplitude(wave(28))


def test_grayscale_is_luma():
    pixels = noise()
    luma = pixels @ [0.299, 0.587, 0.114]
    assert np.abs(grayscale(pixels) - luma[:, :, None]).max() <= 1


def test_a_crop_of_a_ramp_is_less_steep():
    ramp = np.broadcast_to(np.arange(50, 150, dtype=np.uint8)[None, :, None], (100, 100, 3))
    out = cropped(ramp, 0.9)[50, :, 0].astype(float)
    assert out[10:90] == pytest.approx(np.linspace(55 - 0.5 + 0.45, 144.5 - 0.45 + 0.5, 100)[10:90], abs=1.0)


def test_mirrored_twice_is_the_picture():
    pixels = noise()
    assert np.array_equal(flipped(flipped(pixels)), pixels)
    assert np.array_equal(flipped(pixels)[:, 0], pixels[:, -1])


@pytest.mark.parametrize("size", [8, 20, 40])
def test_untouched_pictures_are_reduced_as_for_training(size):
    pixels = noise(40, 40)
    assert np.array_equal(reduced_pixels(pixels, size), reduced(encode_image(pixels, "png"), size))
