"""R² of planted relations is known; a picture that says nothing, or is merely the seed's own, gives none."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from seedml.classifier import noise_regression
from seedml.classifier.noise_regression import NoiseRegression, band_power, patches

SEEDS, SIDE = 24, 8


def fields(count: int, seed: int, channels: int = 2) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(count, channels, SIDE, SIDE)).astype(np.float32))


def pictures_of(signal: torch.Tensor, count: int, sigma: float, seed: int) -> torch.Tensor:
    """``count`` pictures of one C × h × w signal: its first channel in gray, enlarged, and noise of their own."""
    own = torch.from_numpy(np.random.default_rng(seed).normal(size=(count, 1, SIDE, SIDE)).astype(np.float32))
    mixed = 0.3 * (signal[0] + sigma * own)
    return mixed.repeat_interleave(2, 2).repeat_interleave(2, 3).expand(-1, 3, -1, -1).contiguous()


def run(noise: torch.Tensor, signal: torch.Tensor, sigma: float = 1.0, permutations: int = 19) -> dict:
    regression = NoiseRegression(noise, permutations)
    for place in range(len(noise)):
        regression.learn(place, pictures_of(signal[place], 4, sigma, 100 + place))
    regression.fit()
    for place in range(len(noise)):
        regression.test(place, pictures_of(signal[place], 3, sigma, 900 + place))
    return regression.result(resamples=200)


@pytest.fixture(scope="module")
def planted():
    noise = fields(SEEDS, 0)
    return run(noise, noise)


def test_half_of_the_variance_is_read_back_where_half_is_there(planted):
    """Picture = noise + as much again of its own: the best predictor has R² = 1/2, the mean of three pictures 3/4
    but for the shrinkage, which is that of one: 1 - (1 - 1/2)² - 1/4 · 1/3 = 2/3."""
    first, second = planted["by_channel"]
    assert first["value"] == pytest.approx(0.5, abs=0.06)
    assert first["low"] < first["value"] < first["high"]
    assert first["n"] == SEEDS
    assert abs(second["value"]) < 0.05  # is in no picture
    assert planted["one_picture"]["value"] == pytest.approx(0.25, abs=0.05)
    assert planted["all_pictures"]["value"] == pytest.approx(1 / 3, abs=0.06)


def test_permuted_noise_is_not_read_back(planted):
    whole = planted["one_picture"]
    assert whole["p"] == pytest.approx(1 / 20)
    assert -0.1 < whole["chance"] < 0.01
    assert whole["chance_high"] < 0.05


def test_a_trace_of_the_seed_that_is_not_its_noise_gives_nothing():
    """A classifier would recognise these seeds at once; weights that had seen them would predict their noise."""
    found = run(fields(SEEDS, 0), fields(SEEDS, 1), sigma=0.05)["one_picture"]
    assert found["value"] < 0.02
    assert found["p"] > 0.05


def test_low_frequencies_alone_are_read_back_in_low_bands_alone():
    from scipy.fft import dctn, idctn

    noise = fields(SEEDS, 0, channels=1)
    spectrum = dctn(noise.numpy(), axes=(-2, -1), norm="ortho")
    frequencies = np.hypot(np.arange(SIDE)[:, None], np.arange(SIDE)) / 2
    low = torch.from_numpy(idctn(spectrum * (frequencies < 2), axes=(-2, -1), norm="ortho").astype(np.float32))
    found = run(noise, low, sigma=0.1)["by_band"]
    assert [(band["above_cycles"], band["up_to_cycles"]) for band in found][:2] == [(0, 1), (1, 2)]
    assert found[0]["value"] > 0.6
    assert found[1]["value"] > 0.4
    assert abs(found[3]["value"]) < 0.1


def test_weights_are_those_of_plain_ridge_regression(monkeypatch):
    monkeypatch.setattr(noise_regression, "PENALTIES", (0.03,))
    noise = fields(8, 3)
    regression = NoiseRegression(noise, permutations=1)
    pictures = [pictures_of(noise[place], 2 + place % 2, 1.0, place) for place in range(8)]
    for place in range(8):
        regression.learn(place, pictures[place])
    regression.fit()
    fold = int(regression.folds[0])
    others = [place for place in range(8) if regression.folds[place] != fold]
    features = torch.cat([patches(pictures[place]) for place in others]).double()
    centred = (features - features.mean(0)).flatten(0, 1).numpy()
    targets = torch.cat([noise[p].flatten(1).T.repeat(len(pictures[p]), 1, 1) for p in others]).flatten(0, 1).numpy()
    unit = (centred**2).sum() / centred.size
    ridge = Ridge(alpha=0.03 * unit * len(centred), fit_intercept=False).fit(centred, targets)
    assert regression._weights[fold][:, :2].numpy() == pytest.approx(ridge.coef_.T, abs=1e-4)


def test_batches_change_nothing():
    noise = fields(8, 5)
    results = []
    for sizes in ((4,), (1, 3)):
        regression = NoiseRegression(noise, permutations=2)
        for step in (regression.learn, regression.test):
            for place in range(8):
                for part in pictures_of(noise[place], 4, 1.0, place).split(sizes if len(sizes) > 1 else 4):
                    step(place, part)
            if step == regression.learn:
                regression.fit()
        results.append(regression.result(resamples=50)["one_picture"])
    assert results[0] == pytest.approx(results[1], abs=1e-5)


def test_bands_share_out_the_sum_of_squares_and_white_noise_is_white():
    white = fields(400, 8, channels=1).numpy()
    power = band_power(white)
    assert power.sum() == pytest.approx(float((white.astype(float) ** 2).sum()), rel=1e-5)
    frequencies = np.hypot(np.arange(SIDE)[:, None], np.arange(SIDE)) / 2
    counts = np.histogram(frequencies, [0, 1, 2, 4, 8, 99])[0]
    assert power.mean((0, 1)) == pytest.approx(counts.astype(float), rel=0.15, abs=1e-12)


def test_a_patch_is_what_surrounds_its_position():
    picture = torch.arange(3 * 16 * 16, dtype=torch.float32).reshape(1, 3, 16, 16)
    patch = patches(picture)[0, 3 * SIDE + 4].reshape(3, 10, 10)  # row 3, column 4
    assert patch.equal(picture[0, :, 2:12, 4:14])
