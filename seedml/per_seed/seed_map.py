"""Which seeds are alike? Clusters of seeds by their mean vectors, how stable these are, and a map in two dimensions.

Takes sums over blocks of prompts, so that nothing has to keep the vectors of single images. Does not know what the
vectors mean.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from seedml.per_seed.balance import Floats, Ints
from seedml.per_seed.reliability import random_halves

METHODS = ("kmeans", "agglomerative")
MOST = 8
"""Clusters at most."""
FEWEST_SEEDS = 6
"""With fewer seeds there is nothing to cluster."""
SPLITS = 20
"""Random halves of the prompts that stability is the mean over."""
_TSNE_FROM = 20  # seeds: with fewer, t-SNE's neighbourhoods are nearly everybody and PCA says more
_EXACT_TO = 300  # seeds up to which t-SNE's gradient is exact, and so independent of threads


class VectorSums(NamedTuple):
    """Sums of image vectors over blocks of prompts; the same prompts for every seed.

    Attributes:
        seeds: ``S`` int64, ascending.
        images: ``S × B`` int64, how many each sum is of.
        total: ``S × B × D`` float64.

    """

    seeds: Ints
    images: Ints
    total: Floats

    def means(self, blocks: Ints | None = None) -> Floats:
        """Mean vector of each seed over some blocks (all by default): ``S × D``."""
        chosen = slice(None) if blocks is None else blocks
        return np.asarray(self.total[:, chosen].sum(axis=1) / self.images[:, chosen].sum(axis=1)[:, None])


class Clusters(NamedTuple):
    """Clusters of seeds.

    Attributes:
        label: ``S`` int64; 0 is the largest cluster.
        number: how many there are, the number between 2 and :data:`MOST` with the highest mean silhouette.
        silhouette: mean silhouette, −1 to 1 (Rousseeuw 1987): how much nearer a seed is to its own cluster.
        stability: adjusted Rand index between the clusterings of two halves of the prompts, mean over random halvings:
            1 the same clusters, 0 what chance gives (Hubert & Arabie 1985). NaN with fewer than two blocks.
        low: lowest of the halvings.
        high: highest of the halvings.
        method: ``kmeans`` or ``agglomerative`` (Ward's criterion).

    """

    label: Ints
    number: int
    silhouette: float
    stability: float
    low: float
    high: float
    method: str


def cluster_seeds(sums: VectorSums, method: str = "kmeans", seed: int = 0) -> Clusters | None:
    """Clusters of the seeds' mean vectors by Euclidean distance; ``None`` with fewer than six seeds.

    The number of clusters is chosen on all prompts by silhouette, not by stability, which would flatter the latter.
    Stability is of half as many prompts as the clusters shown, so it understates them a little.
    """
    points = sums.means()
    if len(points) < FEWEST_SEEDS or np.ptp(points, axis=0).max() == 0:
        return None
    scored = [(_silhouette(points, labels), labels) for labels in _candidates(points, method, seed)]
    silhouette, labels = max(scored, key=lambda pair: pair[0])
    count = int(labels.max()) + 1
    agreements = stability(sums, count, method, seed)
    middle, low, high = (agreements.mean(), agreements.min(), agreements.max()) if len(agreements) else (np.nan,) * 3
    return Clusters(labels, count, float(silhouette), float(middle), float(low), float(high), method)


def stability(sums: VectorSums, count: int, method: str = "kmeans", seed: int = 0) -> Floats:
    """Adjusted Rand indices of ``count`` clusters of one half of the blocks with those of the other: one a halving."""
    from sklearn.metrics import adjusted_rand_score

    blocks = sums.images.shape[1]
    if blocks < 2:
        return np.empty(0)
    halves = random_halves(blocks, SPLITS, np.random.default_rng([seed, 5])).astype(bool)
    sides = ((sums.means(np.flatnonzero(half)), sums.means(np.flatnonzero(~half))) for half in halves)
    pairs = ((_labels(one, count, method, seed), _labels(other, count, method, seed)) for one, other in sides)
    return np.array([adjusted_rand_score(one, other) for one, other in pairs])


def map_seeds(points: Floats, seed: int = 0) -> tuple[Floats, str]:
    """Places in two dimensions ``S × 2`` for points ``S × D``, and how they were made: ``t-SNE`` or ``PCA``.

    t-SNE (van der Maaten & Hinton 2008) from 20 seeds on: neighbours on the map are alike, far distances and the axes
    mean nothing. It starts from the principal components and a fixed seed: the same machine gives the same map.
    """
    centred = points - points.mean(axis=0)
    if len(points) < _TSNE_FROM:
        return _principal(centred), "PCA"
    from sklearn.manifold import TSNE

    method = "exact" if len(points) <= _EXACT_TO else "barnes_hut"
    perplexity = min(30.0, (len(points) - 1) / 3)
    mapped = TSNE(perplexity=perplexity, init="pca", method=method, random_state=seed).fit_transform(centred)
    return np.asarray(mapped, np.float64), "t-SNE"


def _candidates(points: Floats, method: str, seed: int) -> list[Ints]:
    counts = range(2, min(MOST, len(points) - 1) + 1)
    found = [_labels(points, count, method, seed) for count in counts]
    return [labels for labels in found if len(np.unique(labels)) > 1]


def _labels(points: Floats, count: int, method: str, seed: int) -> Ints:
    """Cluster of each point ``S × D``; 0 is the largest, of equal ones that with the first point."""
    from sklearn.cluster import AgglomerativeClustering, KMeans

    if method == "kmeans":
        raw = KMeans(count, n_init=10, random_state=seed).fit_predict(points)
    else:
        raw = AgglomerativeClustering(count, linkage="ward").fit_predict(points)
    names, first, sizes = np.unique(raw, return_index=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    rank = np.empty(len(names), np.int64)
    rank[order] = np.arange(len(names))
    return np.asarray(rank[np.searchsorted(names, raw)])


def _silhouette(points: Floats, labels: Ints) -> float:
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(points, labels))


def _principal(centred: Floats) -> Floats:
    """First two principal components; the largest loading of each is positive, so that signs are fixed."""
    left, scale, right = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign(np.take_along_axis(right, np.abs(right).argmax(axis=1)[:, None], axis=1))[:, 0]
    places = left * scale * signs
    return np.pad(places[:, :2], ((0, 0), (0, max(0, 2 - places.shape[1]))))
