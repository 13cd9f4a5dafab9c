"""Seeds of a book as a Python program for plain diffusers. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seedml.errors import UserError
from seedml.models.folder import find_model
from seedml.seedbook import Cards, Recipe, SeedBook, SeedCard

_PROGRAM = '''\
"""{title}

Needs torch and diffusers, not seedml. Each noise is compared with the hash of its card before it is used.
"""

import hashlib

import torch
from diffusers import {classes}

MODEL = {model}  # a folder or a hub id
PROMPT = {prompt}
SEEDS = {{  # seed: SHA-256 of its initial noise
{seeds}}}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pipeline = {pipeline}.from_pretrained({loading})
pipeline.to(DEVICE)
{after_loading}pipeline.scheduler = {scheduler}.from_config(pipeline.scheduler.config{options})


def draw(generator):
    """The initial noise of one picture: always in float32, whatever the model computes in."""
    return torch.randn({shape}, generator=generator, device=generator.device, dtype=torch.float32)


for seed, sha256 in SEEDS.items():
{noise}    if hashlib.sha256(noise.cpu().numpy().tobytes()).hexdigest() != sha256:
        raise SystemExit(f"seed {{seed}}: this is not the noise of its card")
    image = pipeline(
        PROMPT,
        latents=noise.to(DEVICE, torch.{dtype}),
        generator=generator,
        num_inference_steps={steps},
        guidance_scale={guidance},
        height={height},
        width={width},
    ).images[0]
    image.save(f"seed-{{seed}}.png")
'''


def snippet(book: SeedBook, cards: Cards, prompt: str) -> str:
    """A program that makes the study's pictures of ``prompt`` with these seeds, one at a time.

    It gives what seedml gives, up to the rounding of another batch size. Whatever comes from the user is written with
    ``repr``, so it stays a string.

    Raises:
        UserError: the book is of the first version, which does not say where its model is.

    """
    recipe, card = book.recipe, cards[0]
    if recipe is None:
        raise UserError(f"the book of {book.name} does not say where its model is", legal="a book of version 2",
                        remedy="run `seedml select` again")  # fmt: skip
    return _PROGRAM.format(
        title=_title(book, cards), classes=", ".join(sorted({_name(card.scheduler), _name(recipe.pipeline)})),
        model=repr(_place(recipe, card)), prompt=repr(prompt), dtype=_name(card.dtype),
        seeds="".join(f"    {card.seed}: {card.noise_sha256!r},\n" for card in cards),
        pipeline=_name(recipe.pipeline), loading=", ".join(_loading(recipe, card)),
        after_loading="pipeline.watermark = None\n" if "XL" in recipe.pipeline else "",
        scheduler=_name(card.scheduler), options=_options(recipe), shape=(1, *card.latent_shape),
        noise="".join(f"    {line}\n" for line in _noise(recipe, card)), steps=card.steps,
        guidance=card.guidance_scale, height=recipe.height, width=recipe.width,
    )  # fmt: skip


def _title(book: SeedBook, cards: Cards) -> str:
    seeds = ", ".join(map(str, cards.seeds))
    return f"Pictures of {_plain(book.model)} with seeds {seeds}, from the seed book of {_plain(book.name)}."


def _plain(text: str) -> str:
    """A name that cannot end the docstring it stands in."""
    return "".join(letter for letter in text if letter not in '"\\' and letter.isprintable())


def _place(recipe: Recipe, card: SeedCard) -> str:
    """Where the model is: the bundled one and those in folders by their absolute path."""
    from seedml.config import ModelConfig

    model = ModelConfig(name=card.model, path=recipe.path, revision=card.revision, variant=recipe.variant)
    is_here = recipe.path.startswith("bundled:") or Path(recipe.path).expanduser().is_dir()
    return str(find_model(model)) if is_here else recipe.path


def _loading(recipe: Recipe, card: SeedCard) -> list[str]:
    """Arguments of ``from_pretrained``. The safety checker is left out, as in the study."""
    words = ["MODEL", *(f"{key}={value!r}" for key, value in (("revision", card.revision), ("variant", recipe.variant))
                        if value is not None)]  # fmt: skip
    words.append(f"torch_dtype=torch.{_name(card.dtype)}")  # newer versions say dtype, and take both
    if recipe.pipeline == "StableDiffusionPipeline":
        words += ["safety_checker=None", "requires_safety_checker=False"]
    return words


def _options(recipe: Recipe) -> str:
    return "".join(f", {_name(key)}={_literal(value)}" for key, value in recipe.scheduler_options.items())


def _noise(recipe: Recipe, card: SeedCard) -> list[str]:
    """Lines that set ``noise`` and the ``generator`` of all later draws."""

    def made(seed: int | None) -> str:
        return f"torch.Generator({card.generator_device!r}).manual_seed({'seed' if seed is None else seed})"

    if recipe.initial_seed == recipe.step_seed:
        return [f"generator = {made(recipe.initial_seed)}  # gives the initial noise, then all later draws",
                "noise = draw(generator)"]  # fmt: skip
    return [
        f"noise = draw({made(recipe.initial_seed)})",
        f"generator = {made(recipe.step_seed)}",
        "draw(generator)  # its own initial noise is not used: later draws are the same whatever the initial noise is",
    ]


def _name(text: object) -> str:
    """``text`` if it is a plain identifier; anything else has no place in code."""
    if not str(text).isidentifier():
        raise UserError("the book holds what is no name", given=str(text), legal="a name such as DDIMScheduler",
                        remedy="run `seedml select` again")  # fmt: skip
    return str(text)


def _literal(value: Any) -> str:
    assert isinstance(value, str | int | float | bool | list | dict | None), f"{value!r} is no value of JSON"
    return repr(value)
