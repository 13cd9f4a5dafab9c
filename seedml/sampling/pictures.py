"""(book, prompt, seeds) -> pictures, a contact sheet and a JSON of what was made."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from seedml.config import StudyConfig, resolved
from seedml.errors import UserError
from seedml.files import atomic_write_bytes, atomic_write_json, fingerprint, read_json
from seedml.models.folder import model_facts
from seedml.models.sources import keeps_checker
from seedml.models.text_to_image import TextToImage, load_text_to_image
from seedml.noise import cell_noise, noise_sha256
from seedml.progress import progress_bar
from seedml.sampling.carried_over import carried_over, made_now
from seedml.sampling.contact_sheet import Captioned, contact_sheet
from seedml.sampling.prompt_text import check_prompt, cut_off
from seedml.sampling.settings import device_of, differences, other_noise, settings_of
from seedml.seedbook import Cards, SeedBook, SeedCard

if TYPE_CHECKING:
    from torch import Tensor

SHEET, RECORD = "contact_sheet.png", "samples.json"
_LIBRARIES = ("seedml", "torch", "diffusers", "transformers")


@dataclass(frozen=True)
class Sample:
    """One picture.

    Attributes:
        group: of seeds that its seed is one of.
        card: of its seed.
        noise_sha256: of the initial noise as drawn.
        pixels: H × W × 3 uint8 0..255.
        finite: whether the decoder gave numbers; the picture is black where not.

    """

    group: str
    card: SeedCard
    noise_sha256: str
    pixels: NDArray[np.uint8]
    finite: bool = True

    @property
    def file(self) -> str:
        """Name of its file."""
        return f"{self.group}-{self.card.seed}.png"


@dataclass(frozen=True)
class Samples:
    """Pictures of one prompt.

    Attributes:
        prompt: as read by the model.
        request: what decides the pictures: prompt, groups of seeds, settings.
        made: in the order of the groups.
        made_with: model, sampler and size as they were used.
        book: name, model and hash of the book.
        notes: warnings, for people.

    """

    prompt: str
    request: Mapping[str, Any]
    made: tuple[Sample, ...]
    made_with: Mapping[str, Any]
    book: Mapping[str, Any]
    notes: tuple[str, ...]

    def groups(self) -> dict[str, list[Sample]]:
        """Name of a group -> its pictures."""
        found: dict[str, list[Sample]] = {}
        for picture in self.made:
            found.setdefault(picture.group, []).append(picture)
        return found

    def contact_sheet(self) -> Image.Image:
        """All pictures on one sheet."""
        headings = {
            f"{name} seeds of {self.book['model']}": [
                Captioned(picture.pixels, f"{picture.card.seed} {picture.card.verdict}") for picture in pictures
            ]
            for name, pictures in self.groups().items()
        }
        return contact_sheet(self.prompt, headings)

    def as_json(self) -> dict[str, Any]:
        """What was made, of what, with what."""
        return {
            "prompt": self.prompt, "fingerprint": fingerprint(self.request), "request": self.request,
            "book": self.book, "made_with": self.made_with,
            "images": [
                {"file": picture.file, "group": picture.group, "seed": picture.card.seed,
                 "verdict": picture.card.verdict, "tags": list(picture.card.tags),
                 "fid": asdict(picture.card.scores["fid"]) if "fid" in picture.card.scores else None,
                 "noise_sha256": picture.noise_sha256}
                for picture in self.made
            ],
            "notes": list(self.notes), "versions": {name: version(name) for name in _LIBRARIES},
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        }  # fmt: skip

    def save(self, folder: str | Path) -> Path:
        """Write the pictures, :data:`SHEET` and, last, :data:`RECORD` to a folder; returns the folder.

        Raises:
            UserError: the folder holds something else.

        """
        target = Path(folder)
        check_folder(target, self.request)
        for picture in self.made:
            atomic_write_bytes(target / picture.file, _png(picture.pixels, self._text(picture)))
        atomic_write_bytes(target / SHEET, _png(np.asarray(self.contact_sheet()), {"prompt": self.prompt}))
        atomic_write_json(target / RECORD, self.as_json())
        return target

    def _text(self, picture: Sample) -> dict[str, Any]:
        """What travels inside the picture's file."""
        return {"prompt": self.prompt, "seed": picture.card.seed, **self.made_with}


def _png(pixels: NDArray[np.uint8], text: Mapping[str, Any]) -> bytes:
    """A PNG, with ``text`` as JSON under the keyword ``seedml``."""
    stream, info = io.BytesIO(), PngInfo()
    info.add_itxt("seedml", json.dumps(text, ensure_ascii=False))
    Image.fromarray(pixels).save(stream, "PNG", pnginfo=info)
    return stream.getvalue()


def request_of(prompt: str, groups: Mapping[str, Cards], config: StudyConfig) -> dict[str, Any]:
    """What decides the pictures, as plain values."""
    whole = resolved(config)
    settings = {section: whole[section] for section in ("model", "sampler", "noise")}
    return {"prompt": prompt, "groups": {name: list(cards.seeds) for name, cards in groups.items()}, **settings}


def check_folder(folder: Path, request: Mapping[str, Any]) -> bool:
    """Whether the pictures of ``request`` are in the folder already.

    Raises:
        UserError: something else is.

    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return False
    record = folder / RECORD
    if record.is_file() and read_json(record).get("fingerprint") == fingerprint(request):
        return True
    if folder.is_dir() and not record.is_file() and _unfinished(folder, request):
        return False
    raise UserError(f"{folder} holds something else", legal="a new folder, or one with the same pictures",
                    remedy="choose another out=…")  # fmt: skip


def _unfinished(folder: Path, request: Mapping[str, Any]) -> bool:
    """Whether all that is in the folder is what an interrupted call with this request would have left."""
    own = {SHEET, *(f"{name}-{seed}.png" for name, seeds in request["groups"].items() for seed in seeds)}
    return all(path.name in own or path.name.endswith(".tmp") for path in folder.iterdir())


def sample(
    book: SeedBook, prompt: str, seeds: Cards | Mapping[str, Cards], config: StudyConfig | None = None
) -> Samples:
    """Make one picture of the prompt with each seed.

    Args:
        book: what the seeds are of.
        prompt: one text.
        seeds: cards of the book, or several groups of them by name.
        config: how pictures are made, from :func:`~seedml.sampling.settings.settings_of`; ``None`` = as the book's.

    Raises:
        UserError: an empty prompt; a model or device that is not here; a noise that is not the card's.

    """
    prompt = check_prompt(prompt)
    groups = {"chosen": seeds} if isinstance(seeds, Cards) else dict(seeds)
    config = config or settings_of(book)
    device = device_of(config)
    facts = model_facts(config)
    notes = differences(book, config, facts)
    if notes:
        notes += carried_over(book, made_now(config, facts))
    model = load_text_to_image(config, device)
    lost = cut_off(model.pipeline, prompt)
    if lost:
        notes.append(f"the prompt is longer than the model's text encoder takes; it does not read {lost!r}")
    expected = not other_noise(book, config, facts)
    made = tuple(_make(model, prompt, groups, config, expected=expected))
    notes += [f"seed {picture.card.seed} gave no picture: the decoder's numbers are not finite"
              for picture in made if not picture.finite]  # fmt: skip
    notes += [f"seed {picture.card.seed} gave no picture: every pixel has one value{_why_flat(config)}"
              for picture in made if picture.finite and picture.pixels.min() == picture.pixels.max()]  # fmt: skip
    return Samples(
        prompt, request_of(prompt, groups, config), made,
        {"model": config.model.name, "pipeline": facts.pipeline, "latent_shape": list(facts.latent_shape),
         "device": device.type, "generator_device": config.noise.generator_device, **asdict(facts.sampling)},
        {"name": book.name, "model": book.model, "sha256": book.as_json()["sha256"]}, tuple(notes),
    )  # fmt: skip


def _why_flat(config: StudyConfig) -> str:
    return ", as the model's safety checker leaves them" if keeps_checker(config.model) else ""


def _make(
    model: TextToImage, prompt: str, groups: Mapping[str, Cards], config: StudyConfig, *, expected: bool
) -> Iterator[Sample]:
    """The pictures, batch by batch; ``expected``: each noise has to be the one of its card."""
    rows = [(name, card) for name, cards in groups.items() for card in cards]
    embeddings, size = model.embed([prompt]), config.sampler.batch_size
    with progress_bar("sample", len(rows), "images") as bar:
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            noise, generators = cell_noise([card.seed for _, card in part], model.latent_shape, config.noise)
            hashes = [noise_sha256(row) for row in noise]
            if expected:
                _check_noise([card for _, card in part], hashes)
            images, finite = model.sample(embeddings[[0] * len(part)], noise, generators)
            for (name, card), found, pixels, is_finite in zip(
                part, hashes, _to_numpy(images), finite.tolist(), strict=True
            ):
                yield Sample(name, card, found, pixels, is_finite)
            bar.advance(len(part))


def _check_noise(cards: Sequence[SeedCard], hashes: Sequence[str]) -> None:
    """Refuse a noise that is not the card's."""
    for card, found in zip(cards, hashes, strict=True):
        if found != card.noise_sha256:
            raise UserError(f"the noise of seed {card.seed} is not the one of its card here", given=found[:16],
                            legal=card.noise_sha256[:16],
                            remedy="seedml verify <the book> says what differs")  # fmt: skip


def _to_numpy(images: Tensor) -> list[NDArray[np.uint8]]:
    """N × 3 × H × W uint8 -> N times H × W × 3."""
    return list(images.permute(0, 2, 3, 1).contiguous().cpu().numpy())
