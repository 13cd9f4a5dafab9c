"""How long does a Fréchet distance take, and do libraries agree on it? Prints one JSON object.

    python benchmarks/frechet.py [--dimensions 2048] [--images 10000] [--seeds 4] [--repeats 3] [--threads 2]
    python benchmarks/frechet.py --device cuda --seeds 1024 --only seedml

Every library gets the same means and covariances of synthetic features (float64) of `--seeds` seeds and of one
reference, and its own function for two Gaussians is timed; they take turns. Seconds are per seed: the median over
`--repeats`. All but seedml take one seed after the other, and are timed on the first `--others` of the seeds.

clean-fid       scipy.linalg.sqrtm of the product
torch-fidelity  numpy's eigenvalues of the unsymmetric product
torchmetrics    torch's eigenvalues of the unsymmetric product
plain           the symmetric form as one would write it: root, two products, torch.linalg.eigvalsh
seedml          seedml.per_seed.frechet.frechet_distances, all seeds in one call

What is done once for a reference (its root, its triangular factor) is given apart, and so is the covariance of one
seed's features, which all of them need. Eigenvalues of the covariances fall like k^−1.2 exp(−7 k/d).
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from seedml.per_seed.frechet import Reference, frechet_distances

TARGETS = {"torchmetrics / seedml": 8.0, "clean-fid / seedml": 40.0}
NAMES = ["clean-fid", "torch-fidelity", "torchmetrics", "plain", "seedml"]
Distance = Callable[[Tensor, Tensor], list[float]]
T = TypeVar("T")


def main() -> None:
    """Measure and print."""
    options = parse()
    torch.set_num_threads(options.threads)
    world = World(options)
    reference, once = timed(lambda: prepared(world), options.device)
    means, covariances = world.seeds(options.seeds)
    distances = {name: make(name, world, reference) for name in options.only}
    seconds: dict[str, list[float]] = {name: [] for name in distances}
    found: dict[str, list[float]] = {}
    for turn in range(options.repeats):
        for name in options.only[turn % len(distances) :] + options.only[: turn % len(distances)]:
            some = slice(0, None if name == "seedml" else options.others)
            found[name], spent = timed(lambda d=distances[name], s=some: d(means[s], covariances[s]), options.device)
            seconds[name].append(spent / len(found[name]))
    features = world.features(options.images, 0)
    _, forming = timed(lambda: covariance(features), options.device)
    print(json.dumps(report(options, seconds, found, {"reference": once, "covariance": forming}), indent=2))


def parse() -> argparse.Namespace:
    """The command line."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--dimensions", type=int, default=2048)
    arguments.add_argument("--images", type=int, default=10_000, help="of every seed and of the reference")
    arguments.add_argument("--seeds", type=int, default=4)
    arguments.add_argument("--others", type=int, default=1, help="seeds for all but seedml: they take one at a time")
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--threads", type=int, default=torch.get_num_threads())
    arguments.add_argument("--device", default="cpu")
    arguments.add_argument("--only", nargs="+", choices=NAMES, default=NAMES)
    return arguments.parse_args()


class World:
    """Features as a network might give them: a falling spectrum in random axes, and seeds that differ a little.

    Attributes:
        mean, covariance: of the reference's features.

    """

    def __init__(self, options: argparse.Namespace) -> None:
        d = options.dimensions
        self.device, self.images = options.device, options.images
        order = torch.arange(1, d + 1, dtype=torch.float64)
        scales = (order**-1.2 * torch.exp(-7 * order / d)).sqrt()
        axes = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
        self.mixing = (scales[:, None] * axes.mT).to(self.device)
        self.mean, self.covariance = covariance(self.features(self.images, -1))

    def features(self, n: int, seed: int) -> Tensor:
        """``n × d`` float64; seed −1 is the reference."""
        generator = torch.Generator(self.device).manual_seed(seed + 1)
        noise = torch.randn(n, len(self.mixing), generator=generator, dtype=torch.float64, device=self.device)
        return (noise * (1 + 0.03 * min(seed + 1, 3)) + 0.1 * (seed >= 0)) @ self.mixing + 0.4

    def seeds(self, count: int) -> tuple[Tensor, Tensor]:
        """Means ``count × d`` and covariances ``count × d × d``."""
        parts = [covariance(self.features(self.images, seed)) for seed in range(count)]
        return torch.stack([mean for mean, _ in parts]), torch.stack([matrix for _, matrix in parts])


def covariance(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance with divisor n − 1."""
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.mT @ centred / (len(features) - 1)


def prepared(world: World) -> Reference:
    """The reference with its root and factor."""
    reference = Reference.of_gaussian(world.mean, world.covariance, world.images)
    assert reference.factor.shape == reference.root.shape
    return reference


def make(name: str, world: World, reference: Reference) -> Distance:
    """A library's function from means and covariances of seeds to distances."""
    if name == "seedml":
        return lambda means, covariances: frechet_distances(means, covariances, reference).tolist()
    if name == "plain":
        return lambda means, covariances: [plain(m, c, reference) for m, c in zip(means, covariances, strict=True)]
    if name == "torchmetrics":
        from torchmetrics.image.fid import _compute_fid

        def one(m: Tensor, c: Tensor) -> float:
            return float(_compute_fid(m, c, world.mean, world.covariance))

        return lambda means, covariances: [one(m, c) for m, c in zip(means, covariances, strict=True)]
    two = clean_fid(world) if name == "clean-fid" else torch_fidelity(world)
    return lambda means, covariances: [two(m, c) for m, c in zip(means.numpy(), covariances.numpy(), strict=True)]


def plain(mean: Tensor, matrix: Tensor, reference: Reference) -> float:
    """The symmetric form without any care."""
    values = torch.linalg.eigvalsh(reference.root @ matrix @ reference.root).clamp(min=0)
    shift = (mean - reference.mean).square().sum()
    return float(shift + matrix.trace() + reference.trace - 2 * values.sqrt().sum())


def clean_fid(world: World) -> Callable[[np.ndarray, np.ndarray], float]:
    """Its function of two Gaussians."""
    from cleanfid.fid import frechet_distance

    warnings.filterwarnings("ignore", message="The `disp` argument is deprecated")
    other = world.mean.numpy(), world.covariance.numpy()
    return lambda mean, matrix: float(frechet_distance(mean, matrix, *other))


def torch_fidelity(world: World) -> Callable[[np.ndarray, np.ndarray], float]:
    """Its function of two sets of statistics."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    other = {"mu": world.mean.numpy(), "sigma": world.covariance.numpy()}
    return lambda mean, matrix: fid_statistics_to_metric({"mu": mean, "sigma": matrix}, other, False)[KEY_METRIC_FID]


def timed(function: Callable[[], T], device: str) -> tuple[T, float]:
    """What it returns, and the seconds it took."""
    start = time.perf_counter()
    result = function()
    if device != "cpu":
        torch.cuda.synchronize()
    return result, time.perf_counter() - start


def report(
    options: argparse.Namespace, seconds: dict[str, list[float]], found: dict[str, list[float]], apart: dict[str, float]
) -> dict[str, object]:
    """Everything that was measured, and under which conditions."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    names = [name for name in medians if name != "seedml"]
    ours = found.get("seedml", [])
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "dimensions": options.dimensions,
        "images": options.images,
        "seeds": options.seeds,
        "device": options.device,
        "threads": options.threads,
        "versions": {name: version(name) for name in ("torch", "numpy", "scipy", *names) if name != "plain"},
        "seconds per seed": {name: round(value, 3) for name, value in medians.items()},
        "seconds per seed, every turn": {name: [round(v, 3) for v in values] for name, values in seconds.items()},
        "seconds of one covariance from features": round(apart["covariance"], 3),
        "seconds per seed from features": {n: round(v + apart["covariance"], 3) for n, v in medians.items()},
        "seconds once per reference": round(apart["reference"], 3),
        "ratios": {f"{name} / seedml": round(medians[name] / medians["seedml"], 1) for name in names if ours},
        "targets": TARGETS,
        "distances": {name: values[:8] for name, values in found.items()},
        "largest relative difference from seedml": {
            name: max(abs(a / b - 1) for a, b in zip(found[name], ours, strict=False)) for name in names if ours
        },
    }


if __name__ == "__main__":
    main()
