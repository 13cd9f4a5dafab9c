"""Seeds of a book as a Python program for plain diffusers. Needs no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seedml.errors import UserError
from seedml.models.families import TEXT_TO_IMAGE, Family
from seedml.models.folder import find_model
from seedml.models.sources import hub_name
from seedml.seedbook import Cards, Recipe, SeedBook, SeedCard

_PROGRAM = '''\
"""{title}

Needs torch and diffusers, not seedml. Each noise is compared with the hash of its card before it is used.
"""

{imports}

import torch
from diffusers import {classes}

MODEL = {model}  # {kind}
PROMPT = {prompt}
SEEDS = {{  # seed: SHA-256 of its initial noise
{seeds}}}
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"

pipeline = {pipeline}.{loader}({loading})
{after_loading}pipeline.to(DEVICE)
pipeline.scheduler = {scheduler}.from_config(pipeline.scheduler.config{options})


def draw(generator):
    """The initial noise of one picture: always in float32, whatever the model computes in."""
    return torch.randn({shape}, generator=generator, device=generator.device, dtype=torch.float32)


for seed, sha256 in SEEDS.items():
{noise}    if hashlib.sha256(noise.cpu().numpy().tobytes()).hexdigest() != sha256:
        raise SystemExit(f"seed {{seed}}: this is not the noise of its card")
{before_call}    image = pipeline(
        PROMPT,
        latents={latents},
        generator=generator,
        num_inference_steps={steps},
        guidance_scale={guidance},
        height={height},
        width={width},
{more}    ).images[0]
    image.save(f"seed-{{seed}}.png")
'''


_HAND_ON = (
    "    # this pipeline does not hand its generator on to the scheduler\n"
    "    pipeline.scheduler.step = functools.partial(pipeline.scheduler.step, generator=generator)\n"
)
_DRAW = ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler",
         "DPMSolverMultistepScheduler")  # fmt: skip
"""Schedulers of flow models that may add noise while sampling, and take a generator for it."""
_BINNING = ("PixArtAlphaPipeline", "PixArtSigmaPipeline", "SanaPipeline")
"""Pipelines that would make a size of their own and scale it."""


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
    family = TEXT_TO_IMAGE.get(_name(recipe.pipeline), TEXT_TO_IMAGE["StableDiffusionPipeline"])
    hand_on = not family.passes_generator and _name(card.scheduler) in _DRAW
    return _PROGRAM.format(
        title=_title(book, cards), imports="import functools\nimport hashlib" if hand_on else "import hashlib",
        classes=", ".join(sorted({_name(card.scheduler), _name(recipe.pipeline), *_further_classes(recipe)})),
        model=repr(_place(recipe, card)), kind="a file" if _is_file(recipe) else "a folder or a hub id",
        prompt=repr(prompt), seeds="".join(f"    {card.seed}: {card.noise_sha256!r},\n" for card in cards),
        pipeline=_name(recipe.pipeline), loader="from_single_file" if _is_file(recipe) else "from_pretrained",
        loading=", ".join(_loading(recipe, card)), after_loading=_after_loading(recipe),
        scheduler=_name(card.scheduler), options=_options(recipe), shape=(1, *card.latent_shape),
        noise="".join(f"    {line}\n" for line in _noise(recipe, card)),
        before_call=_HAND_ON if hand_on else "", latents=_latents(family, _name(recipe.pipeline), _name(card.dtype)),
        steps=card.steps, guidance=card.guidance_scale, height=recipe.height, width=recipe.width, more=_more(recipe),
    )  # fmt: skip


def _latents(family: Family, pipeline: str, dtype: str) -> str:
    """The noise as the pipeline's call takes it."""
    if family.float32_noise:
        return "noise.to(DEVICE)"
    placed = f"noise.to(DEVICE, torch.{dtype})"
    return f"{pipeline}._pack_latents({placed}, *noise.shape)" if family.packed else placed


def _more(recipe: Recipe) -> str:
    """Further lines of the call's arguments."""
    options = dict(recipe.model_options.get("call_options", {}))
    if recipe.pipeline in _BINNING:
        options["use_resolution_binning"] = False
    return "".join(f"        {_name(key)}={_literal(value)},\n" for key, value in options.items())


def _after_loading(recipe: Recipe) -> str:
    lines = ["pipeline.watermark = None"] if recipe.pipeline == "StableDiffusionXLPipeline" else []
    for number, (path, scale) in enumerate(recipe.model_options.get("lora", {}).items()):
        place, file = _lora(path)
        weight = f", weight_name={file!r}" if file else ""
        lines += [f"pipeline.load_lora_weights({place!r}{weight})",
                  f"pipeline.fuse_lora(lora_scale={float(scale)!r})  # {number + 1}",
                  "pipeline.unload_lora_weights()"]  # fmt: skip
    return "".join(f"{line}\n" for line in lines)


def _lora(path: str) -> tuple[str, str]:
    """Folder or hub id, and file in it."""
    here = Path(path).expanduser()
    if here.is_file():
        return str(here.absolute().parent), here.name
    if here.is_dir() or path.count("/") == 1:
        return path.partition("@")[0], ""
    name = hub_name(path)
    return name.repository, name.inside


def _is_file(recipe: Recipe) -> bool:
    return recipe.path.endswith(".safetensors")


def _further_classes(recipe: Recipe) -> list[str]:
    return ["AutoModel"] if recipe.model_options.get("vae") else []


def _title(book: SeedBook, cards: Cards) -> str:
    seeds = ", ".join(map(str, cards.seeds))
    return f"Pictures of {_plain(book.model)} with seeds {seeds}, from the seed book of {_plain(book.name)}."


def _plain(text: str) -> str:
    """A name that cannot end the docstring it stands in."""
    return "".join(letter for letter in text if letter not in '"\\' and letter.isprintable())


def _place(recipe: Recipe, card: SeedCard) -> str:
    """Where the model is: the bundled one and those in folders by their absolute path."""
    from seedml.config import ModelConfig

    if _is_file(recipe):
        return str(Path(recipe.path).expanduser().absolute())

    model = ModelConfig(name=card.model, path=recipe.path, revision=card.revision, variant=recipe.variant)
    is_here = recipe.path.startswith("bundled:") or Path(recipe.path).expanduser().is_dir()
    return str(find_model(model)) if is_here else recipe.path


def _loading(recipe: Recipe, card: SeedCard) -> list[str]:
    """Arguments of ``from_pretrained``. The safety checker is left out unless the book's pictures passed it."""
    words = ["MODEL", *(f"{key}={value!r}" for key, value in (("revision", card.revision), ("variant", recipe.variant))
                        if value is not None)]  # fmt: skip
    words.append(f"torch_dtype=torch.{_name(card.dtype)}")  # newer versions say dtype, and take both
    may_check = recipe.pipeline in ("StableDiffusionPipeline", "LatentConsistencyModelPipeline")
    if may_check and not recipe.model_options.get("safety_checker", False):
        words += ["safety_checker=None", "requires_safety_checker=False"]
    if recipe.model_options.get("config"):
        words.append(f"config={str(recipe.model_options['config'])!r}")
    if recipe.model_options.get("vae"):
        vae = str(recipe.model_options["vae"])
        words.append(f"vae=AutoModel.from_pretrained({vae!r}, torch_dtype=torch.{_name(card.dtype)})")
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
