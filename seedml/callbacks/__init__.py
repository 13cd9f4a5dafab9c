"""Lightning hooks that hold sums over batches, call ``per_seed/`` at the end, and tell the tracker.

They take what a module's ``predict_step`` gives (:class:`~seedml.measurement.module.MeasuredBatch`), so they can hang
on the measuring pass or on a pass over stored rows. No statistics are in here.
"""

from __future__ import annotations

from seedml.callbacks.attribute_statistics import AttributeStatistics as AttributeStatistics
from seedml.callbacks.per_seed_fid import PerSeedFid as PerSeedFid
from seedml.callbacks.rows import PassThrough as PassThrough
from seedml.callbacks.rows import reference_for as reference_for
from seedml.callbacks.rows import run_over_rows as run_over_rows
