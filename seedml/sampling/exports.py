"""Seeds of a book for other programs: a Python program, a comma list with its caveats, the noise itself."""

from __future__ import annotations

import json
from pathlib import Path

from seedml.errors import UserError
from seedml.files import atomic_write_bytes
from seedml.sampling.snippet import snippet
from seedml.seedbook import Cards, SeedBook

PROGRAM, LIST, NOISE = "diffusers_example.py", "seeds.txt", "noise.safetensors"
FORMS = {"diffusers": PROGRAM, "list": LIST, "noise": NOISE}
"""What can be exported -> the file it is in."""

_CPU_CAVEATS = """\
# A seed is only a number: it means the same picture only with the same noise source, model, size and sampler.
# A1111: set Settings > Stable Diffusion > "Random number generator source" to CPU (it is GPU by default, another noise)
#   and "Eta noise seed delta" to 0; paste the list into Script > X/Y/Z plot > Seed.
# ComfyUI: KSampler draws on the CPU, so its noise is the same at batch_size 1; further images of a batch have noise
#   that is no seed's own. Queue one image a seed.
# Both scale and add noise in samplers of their own: expect the seed's layout, not the same pixels; noise added while
#   sampling (ancestral, SDE) may come from another source.
"""
_CUDA_CAVEATS = """\
# A seed is only a number: it means the same picture only with the same noise source, model, size and sampler.
# These seeds' noise was drawn on a CUDA device. A1111: set "Random number generator source" to GPU, or to NV elsewhere,
#   and "Eta noise seed delta" to 0; paste the list into Script > X/Y/Z plot > Seed.
# ComfyUI draws on the CPU: there these seeds are other noise, and what the book says of them does not hold.
"""


def comma_list(book: SeedBook, cards: Cards, what: str) -> str:
    """The seeds in one line, below comments that say what they are good for and what they are not."""
    card, recipe = cards[0], book.recipe
    size = f"{recipe.width} × {recipe.height} px, " if recipe else ""
    made = f"{size}{card.scheduler}, {card.steps} steps, guidance {card.guidance_scale:g}"
    title = f"# {what} seeds of {book.model} from the seed book of {book.name}: {made}\n"
    return title + (_CPU_CAVEATS if card.generator_device == "cpu" else _CUDA_CAVEATS) + ", ".join(
        map(str, cards.seeds)) + "\n"  # fmt: skip


def noise_file(book: SeedBook, cards: Cards) -> bytes:
    """A safetensors file: seed -> its initial noise, C × H × W float32, not yet scaled by a scheduler.

    Raises:
        UserError: a noise is not the one of its card here.

    """
    from safetensors.torch import save

    from seedml.config import NoiseConfig
    from seedml.noise import cell_noise, noise_sha256
    from seedml.sampling.noise_check import can_draw

    card, initial = cards[0], None if book.recipe is None else book.recipe.initial_seed
    if not can_draw(card.generator_device):
        raise UserError(f"the book's noise is drawn on {card.generator_device}, which is not here",
                        remedy="export it on a machine that has one, or leave noise out of to=…")  # fmt: skip
    settings = NoiseConfig(generator_device=card.generator_device, initial_seed=initial)
    channels, height, width = card.latent_shape
    noise, _ = cell_noise(cards.seeds, (channels, height, width), settings)
    wrong = next((card.seed for card, row in zip(cards, noise, strict=True)
                  if noise_sha256(row) != card.noise_sha256), None)  # fmt: skip
    if wrong is not None:
        raise UserError(f"the noise of seed {wrong} is not the one of its card here",
                        remedy="seedml verify <the book> says what differs")  # fmt: skip
    use = "standard normal, before the scheduler's init_noise_sigma; latents=noise[None] in diffusers"
    notes = {"book": book.name, "model": book.model, "generator_device": card.generator_device, "use": use}
    # one entry: safetensors writes several in an order of its own, another one every time
    metadata = {"seedml": json.dumps(notes, sort_keys=True)}
    tensors = {str(seed): row.cpu().contiguous() for seed, row in zip(cards.seeds, noise, strict=True)}
    return bytes(save(tensors, metadata=metadata))


def write_exports(book: SeedBook, cards: Cards, what: str, prompt: str, folder: Path, forms: list[str]) -> list[Path]:
    """Write the chosen forms; returns their files. A file that is there with the same content stays.

    Raises:
        UserError: a file is there with other content, or no folder.

    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is no folder", remedy="choose another out=…")
    contents = {}
    for form in forms:
        if form == "diffusers":
            contents[PROGRAM] = snippet(book, cards, prompt).encode()
        elif form == "list":
            contents[LIST] = comma_list(book, cards, what).encode()
        else:
            contents[NOISE] = noise_file(book, cards)
    for name, content in contents.items():
        path = folder / name
        if path.exists() and path.read_bytes() != content:
            raise UserError(f"{path} is there with other content", remedy="choose another out=…, or move it away")
    for name, content in contents.items():
        atomic_write_bytes(folder / name, content)
    return [folder / name for name in contents]
