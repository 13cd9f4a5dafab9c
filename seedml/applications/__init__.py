"""What chosen seeds are good for, each use tried out on prompts that had no part in choosing them.

One file a use: high-fidelity inference, diversified sampling, noise swap, inpainting. The step ``apply`` runs them and
writes ``runs/<name>/applications/<use>.json`` and a sheet of pictures beside it. Every figure has its interval and n,
and what chance gives.
"""

from __future__ import annotations

from seedml.applications.step import apply as apply
from seedml.applications.step import check_applications as check_applications
