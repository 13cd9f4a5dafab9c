"""Per-seed statistics -> golden, inferior and diverse seeds -> seed book.

Seeds are chosen on the selection prompts (splits train and val); the test prompts only confirm. The best of many noisy
numbers looks better than it is, so every list comes with what chance alone would give.
"""

from __future__ import annotations

from seedml.selection.step import select as select
