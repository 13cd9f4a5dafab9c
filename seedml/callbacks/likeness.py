"""Which seeds look alike, and which pictures show best what a seed does: tables that name seeds and prompts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from seedml.measurement.vectors import read_sums, sums_path
from seedml.per_seed.balance import Ints, table
from seedml.per_seed.examples import typical_and_extreme
from seedml.per_seed.seed_map import Clusters, VectorSums, cluster_seeds, map_seeds
from seedml.summary import figure

if TYPE_CHECKING:
    import pandas as pd

    from seedml.config import StatisticsConfig
    from seedml.measurement import Measurements


def seed_maps(
    run_dir: Path, seeds: Ints, networks: Sequence[str], statistics: StatisticsConfig
) -> tuple[pd.DataFrame, dict[str, object]]:
    """One row a seed: seed, then per network ``<network>_cluster`` (0 the largest), ``_map_x``, ``_map_y``.

    Networks that told nothing of these images, and studies of too few seeds, have no columns. Beside it the headline:
    ``<network>_clusters``, ``_map`` (how places were made), ``_silhouette``, and ``_stability``, whose limits are the
    lowest and highest of the random halvings of the prompts and whose n are prompts.
    """
    import pandas as pd

    frame, headline = pd.DataFrame({"seed": seeds}), dict[str, object]()
    for name in networks:
        path = sums_path(run_dir, name)
        sums = VectorSums(*read_sums(path)) if path.is_file() else None
        clusters = None if sums is None else cluster_seeds(sums, statistics.clustering, statistics.seed)
        if sums is None or clusters is None:
            continue
        places, how = map_seeds(sums.means(), statistics.seed)
        columns = {f"{name}_cluster": clusters.label, f"{name}_map_x": places[:, 0], f"{name}_map_y": places[:, 1]}
        found = pd.DataFrame({"seed": sums.seeds, **columns})
        frame = frame.merge(found, on="seed", how="left", validate="one_to_one")
        headline |= _headline(name, clusters, how, int(sums.images[0].sum()))
    return frame, headline


def _headline(name: str, clusters: Clusters, how: str, prompts: int) -> dict[str, object]:
    told: dict[str, object] = {f"{name}_clusters": clusters.number, f"{name}_map": how}
    told[f"{name}_silhouette"] = figure(clusters.silhouette)
    if np.isfinite(clusters.stability):
        told[f"{name}_stability"] = figure(clusters.stability, clusters.low, clusters.high, prompts)
    return told


def example_table(measured: Measurements) -> pd.DataFrame:
    """One row a seed and attribute column: seed, attribute, and prompt_ids ``typical`` and ``extreme``.

    The image that shows best what the seed does to the attribute, and that in which it does most of it
    (:func:`~seedml.per_seed.examples.typical_and_extreme`); −1 where no image tells.
    """
    import pandas as pd

    good = measured.images[measured.images["status"] == "ok"]
    seeds, prompts = good["seed"].to_numpy(np.int64), good["prompt_id"].to_numpy(np.int64)
    seed_list, prompt_list = measured.seed_list, np.append(measured.prompts_of(), -1)  # place −1 is prompt −1
    tables = []
    for name in measured.columns:
        values = table(good[name].to_numpy(np.float64), seeds, prompts, seed_list, prompt_list[:-1])
        typical, extreme = (prompt_list[places] for places in typical_and_extreme(values))
        tables.append(pd.DataFrame({"seed": seed_list, "attribute": name, "typical": typical, "extreme": extreme}))
    return pd.concat(tables, ignore_index=True)
