"""Studies beside each other, seed by seed: files, one page and one W&B run. ``seedml compare runs/a runs/b …``."""

from seedml.compare.step import compare

__all__ = ["compare"]
