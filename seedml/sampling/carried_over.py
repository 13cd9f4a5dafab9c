"""What is known of using a book on pictures that it is not about: figures of ``seedml compare``, where there are any.

They are in the book itself (``seedml compare … books=true``) or in a comparison beside its run.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedml.errors import UserError
from seedml.files import read_json
from seedml.models.folder import ModelFacts
from seedml.seedbook import SeedBook, Transfer
from seedml.seedbook.fields import Fields

if TYPE_CHECKING:
    from seedml.config import StudyConfig

COMPARISON = "compare.json"
"""File of a comparison."""
MOST = 3
"""Studies that are spoken of."""
_WORDS = {"steps": "number of steps"}
_SAME = ("model", "latent_shape")
"""What a study must have in common with pictures to say anything of them."""


def made_now(config: StudyConfig, facts: ModelFacts) -> dict[str, Any]:
    """How pictures are about to be made, in the words of :meth:`~seedml.seedbook.book.SeedBook.made_with`."""
    sampling = facts.sampling
    return {
        "model": config.model.name, "latent_shape": list(facts.latent_shape), "height": sampling.height,
        "width": sampling.width, "scheduler": sampling.scheduler, "steps": sampling.steps,
        "guidance_scale": float(sampling.guidance_scale), "dtype": sampling.dtype,
        "generator_device": config.noise.generator_device,
    }  # fmt: skip


def carried_over(book: SeedBook, now: Mapping[str, Any]) -> list[str]:
    """What studies that were made so, or else nearly so, say of the book's seeds: a sentence each.

    Args:
        book: whose seeds are used.
        now: of :func:`made_now`.

    """
    known = {
        study: (transfer, transfer.differing(now))
        for study, transfer in known_transfers(book).items()
        if all(transfer.made_with.get(key) == now[key] for key in _SAME)
    }
    exact = {study: pair for study, pair in known.items() if not pair[1]}
    nearest = sorted((exact or known).items(), key=lambda entry: (len(entry[1][1]), entry[0]))[:MOST]
    return [f"{_how(study, differing)}: {transfer.text()}" for study, (transfer, differing) in nearest]


def _how(study: str, differing: list[str]) -> str:
    if not differing:
        return f"in the study {study}, made as these pictures are"
    names = " and another ".join(_WORDS.get(name, name.replace("_", " ")) for name in differing)
    return f"in the study {study}, of the same model but with another {names} than these pictures"


def known_transfers(book: SeedBook) -> dict[str, Transfer]:
    """Study -> what it says of the book's seeds: from the book, then from comparisons beside its run's folder.

    A comparison with a study that was made otherwise than the book says, or that cannot be read, is passed over.
    """
    found = dict(book.transfer)
    if book.folder is None:
        return found
    own = book.folder.resolve()
    for path in sorted(own.parent.glob(f"*/{COMPARISON}")):
        try:
            for study, transfer in _told(path, own, book).items():
                found.setdefault(study, transfer)
        except UserError:
            continue  # damaged, or of another version; whoever asks for pictures need not mend it
    return found


def _told(path: Path, own: Path, book: SeedBook) -> dict[str, Transfer]:
    """What the comparison in a file says of the run in the folder ``own``."""
    found = Fields(read_json(path), str(path))
    name = dict(zip(found.texts("folders"), found.texts("studies"), strict=False)).get(str(own))
    if name is None:
        return {}
    said, now = Fields(found.objects("made_with"), "made_with").objects(name), book.made_with()
    if any(said[key] != now[key] for key in said.keys() & now.keys()):
        return {}
    entries = Fields(found.objects("transfer"), "transfer").objects(name)
    return {study: Transfer.read(entry, study) for study, entry in entries.items()}
