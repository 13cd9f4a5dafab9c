"""``seedml doctor <config>``: what a study needs, what of it is here, and the command that gets what is missing.

One file a subject, each a function ``study -> findings``. Nothing is written, downloaded or generated; pictures are
not made and networks are not loaded, so that it also works where the study will not run.
"""

from __future__ import annotations

from seedml.doctor.step import doctor as doctor
from seedml.doctor.step import examine as examine
