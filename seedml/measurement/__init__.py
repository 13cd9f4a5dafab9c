"""One pass over the shards: every image -> a feature vector and readable numbers; the same vectors of a reference.

Writes ``images.parquet``, ``features.safetensors`` and ``reference.safetensors``; knows nothing of statistics.
"""

from __future__ import annotations

from seedml.measurement.results import Measurements as Measurements
from seedml.measurement.results import load_measurements as load_measurements
from seedml.measurement.step import measure as measure
