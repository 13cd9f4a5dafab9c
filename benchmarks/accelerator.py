"""How fast are images made on an accelerator, and how fast could they be? Prints JSON, and a table for docs/.

    python benchmarks/accelerator.py [--models sd2 sdxl_turbo] [--images 256] [--repeats 3] [--compile default]

Stable Diffusion 2 and SDXL Turbo at full size and 512 × 512 px in bfloat16, with random weights: what is computed, and
so the time, does not depend on them. Four ways to make the same images, in images a second:

one      plain diffusers, a prompt and a seed a call, each image saved as a PNG file
best     the same in batches, of the size that is fastest
seedml   the step `generate` with `sampler.batch_size=0`, from configuration to finished shards
bare     denoiser and decoder alone on a batch of that size, inputs ready, nothing saved: the limit

No figure of it is in this repository yet: no accelerator was at hand. Its arithmetic is tested on a CPU.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import functools
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from generation import random_sd2, synchronise

from seedml.config import StudyConfig, load_config
from seedml.models.text_to_image import TextToImage, load_text_to_image
from seedml.noise import generator, initial_noise
from seedml.prompts import load_prompts

TARGETS = {"seedml / one": 2.0, "seedml / best": 1.1, "seedml / bare": 0.95}
SEEDS = 16
BATCHES = (4, 8, 16, 32, 64, 128)
"""Sizes that plain diffusers is tried with."""


def main() -> None:
    """Measure and print."""
    options = parse()
    results = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        for name in options.models:
            config = study(Path(folder), MODELS[name](Path(folder) / name), SETTINGS[name], options)
            results.append({"model": name} | measure(config, Path(folder), options))
    print(json.dumps(results, indent=2))
    print(table(results))


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    arguments.add_argument("--images", type=int, default=256, help=f"in each run; a multiple of {SEEDS}")
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--device", default="cuda", help="torch device")
    arguments.add_argument("--compile", help="mode of torch.compile for seedml; default: none")
    arguments.add_argument("--folder", type=Path, help="on the disk to write to; default: the temporary folder's")
    options = arguments.parse_args(words)
    if options.images % SEEDS or options.images <= 0:
        arguments.error(f"--images has to be a multiple of {SEEDS}")
    return options


def random_sdxl_turbo(folder: Path) -> Path:
    """SDXL Turbo's architecture (512 × 512 px) with random weights and a tokenizer of single bytes, in bfloat16."""
    from diffusers import (
        EulerAncestralDiscreteScheduler,
        StableDiffusionPipeline,
        StableDiffusionXLPipeline,
        UNet2DConditionModel,
    )
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    parts = StableDiffusionPipeline.from_pretrained(random_sd2(folder.with_name("for_sdxl")), dtype=torch.bfloat16)
    tokenizer = parts.tokenizer
    ids = {"vocab_size": len(tokenizer), "bos_token_id": tokenizer.bos_token_id,
           "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}  # fmt: skip
    small = CLIPTextConfig(
        **ids, hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768
    )
    large = CLIPTextConfig(
        **ids, hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20,
        hidden_act="gelu", projection_dim=1280,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=64, block_out_channels=(320, 640, 1280), layers_per_block=2, cross_attention_dim=2048,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=256, projection_class_embeddings_input_dim=2816,
    )  # fmt: skip
    scheduler = EulerAncestralDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, timestep_spacing="trailing"
    )
    pipeline = StableDiffusionXLPipeline(
        vae=parts.vae, text_encoder=CLIPTextModel(small).eval(), tokenizer=tokenizer, unet=unet, scheduler=scheduler,
        text_encoder_2=CLIPTextModelWithProjection(large).eval(), tokenizer_2=tokenizer, add_watermarker=False,
    )  # fmt: skip
    pipeline.to(dtype=torch.bfloat16).save_pretrained(folder)
    return folder


MODELS: Mapping[str, Callable[[Path], Path]] = {"sd2": random_sd2, "sdxl_turbo": random_sdxl_turbo}
SETTINGS: Mapping[str, dict[str, Any]] = {
    "sd2": {"dtype": "bfloat16", "steps": 50, "guidance_scale": 7.5},
    "sdxl_turbo": {"dtype": "bfloat16", "steps": 1, "guidance_scale": 0.0},
}


def study(root: Path, model: Path, settings: Mapping[str, Any], options: argparse.Namespace) -> StudyConfig:
    """So many images of that model, in the largest batch that fits."""
    content = {
        "name": model.name, "seeds": f"0:{SEEDS}", "model": {"path": str(model), **settings},
        "prompts": {"set": "scenes", "limit": options.images // SEEDS, "splits": {"train": 1.0}},
        "sampler": {"batch_size": 0, "compile": options.compile},
        "shards": {"root": str(root / "shards")}, "runs": {"root": str(root / "runs")},
        "trainer": {"accelerator": "cpu" if options.device == "cpu" else "auto"}, "tracking": {"mode": "disabled"},
    }  # fmt: skip
    path = root / f"{model.name}.yaml"
    path.write_text(yaml.safe_dump(content))
    return load_config(str(path))


def measure(config: StudyConfig, root: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Rates, their ratios and the memory of the four ways; they take turns."""
    from seedml.generation.largest_batch import fix_batch_size

    fix_batch_size(config)
    size = min(config.sampler.batch_size, options.images)
    config.sampler.batch_size = size
    model = load_text_to_image(config, options.device)
    plain = plain_pipeline(config, options.device)
    best = fastest({batch: plain_seconds(plain, config, batch, root) for batch in BATCHES if batch <= size} or {1: 1.0})
    ways = {
        "one": lambda: plain_seconds(plain, config, 1, root),
        "best": lambda: plain_seconds(plain, config, best, root),
        "seedml": lambda: seedml_seconds(config, model, root),
        "bare": lambda: bare_seconds(model, size) * options.images / size,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    memory: dict[str, float] = {}
    for _ in range(options.repeats):
        for name, way in ways.items():
            seconds[name].append(way())
            memory[name] = peak_gigabytes(options.device)
    return {
        "batch_size": {"one": 1, "best": best, "seedml": size, "bare": size}, "decode": config.sampler.decode,
        "peak_gigabytes": memory, **figures(seconds, options.images), **surroundings(options.device),
    }  # fmt: skip


def fastest(seconds: Mapping[int, float]) -> int:
    """The batch size that took least."""
    return min(seconds, key=lambda size: seconds[size])


def figures(seconds: Mapping[str, Sequence[float]], images: int) -> dict[str, Any]:
    """Images a second (median of the turns), and ratios of rates turn by turn beside their targets."""
    rates = {name: [images / spent for spent in turns] for name, turns in seconds.items()}
    ratios = {}
    for pair, target in TARGETS.items():
        name, other = pair.split(" / ")
        by_turn = [mine / theirs for mine, theirs in zip(rates[name], rates[other], strict=True)]
        ratios[pair] = {"median": round(statistics.median(by_turn), 3), "target": target,
                        "reached": statistics.median(by_turn) >= target}  # fmt: skip
    return {"images_per_second": {name: round(statistics.median(turns), 3) for name, turns in rates.items()},
            "ratios": ratios}  # fmt: skip


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row for each model and way."""
    lines = ["| model | way | batch | images/s | peak memory, GB |", "|---|---|---|---|---|"]
    for result in results:
        for way, rate in result["images_per_second"].items():
            batch, memory = result["batch_size"][way], result["peak_gigabytes"][way]
            lines.append(f"| {result['model']} | {way} | {batch} | {rate:.2f} | {memory:.1f} |")
        for pair, ratio in result["ratios"].items():
            lines.append(f"| {result['model']} | {pair} | | {ratio['median']:.2f} (target {ratio['target']:g}) | |")
    return "\n".join(lines)


def plain_pipeline(config: StudyConfig, device: str) -> Any:
    """As a user of diffusers loads it."""
    from diffusers import AutoPipelineForText2Image

    loader: Any = AutoPipelineForText2Image
    dtype = {"bfloat16": torch.bfloat16, "float32": torch.float32}[str(config.sampler.dtype)]
    pipeline = loader.from_pretrained(config.model.path, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)


def plain_seconds(pipeline: Any, config: StudyConfig, size: int, root: Path) -> float:
    """The loop that a user of diffusers writes: prompt after prompt, seeds in batches, PNG files."""
    folder = Path(tempfile.mkdtemp(dir=root))
    cells = [(prompt, seed) for prompt in load_prompts(config.prompts) for seed in config.seed_list]
    started = time.perf_counter()
    for start in range(0, len(cells), size):
        batch = cells[start : start + size]
        images = pipeline(
            [prompt.text for prompt, _ in batch], generator=[generator(seed) for _, seed in batch],
            num_inference_steps=config.sampler.steps, guidance_scale=config.sampler.guidance_scale,
        ).images  # fmt: skip
        for (prompt, seed), image in zip(batch, images, strict=True):
            image.save(folder / f"{seed}_{prompt.prompt_id}.png")
    return time.perf_counter() - started


def seedml_seconds(config: StudyConfig, model: TextToImage, root: Path) -> float:
    """The step ``generate``, with a model that is loaded already, as the plain one is."""
    import seedml.generation.step as step
    import seedml.models.text_to_image as text_to_image
    from seedml.tracking import NullTracker

    folder = tempfile.mkdtemp(dir=root)
    own = replace(config, shards=replace(config.shards, root=folder), runs=replace(config.runs, root=folder))
    before = text_to_image.load_text_to_image, step.model_identity
    text_to_image.load_text_to_image = lambda *_: model
    step.model_identity = lambda *_: {"sha256": "random"}  # type: ignore[assignment]  # reads all weights, once a study
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            started = time.perf_counter()
            step.generate(own, NullTracker())
            return time.perf_counter() - started
    finally:
        text_to_image.load_text_to_image, step.model_identity = before


def bare_seconds(model: TextToImage, size: int) -> float:
    """Seconds for the denoiser's calls and one decoding of a batch, with inputs as ``generate`` gives them."""
    calls, decoded = recorded(model, size)
    device = str(model.pipeline._execution_device)
    with torch.inference_mode():
        synchronise(device)
        started = time.perf_counter()
        for args, kwargs in calls:
            model.denoiser(*args, **kwargs)
        for args, kwargs in decoded:
            model.pipeline.vae.decode(*args, **kwargs)
        synchronise(device)
        return time.perf_counter() - started


def recorded(model: TextToImage, size: int) -> tuple[list[Any], list[Any]]:
    """What denoiser and decoder are called with while one batch is made."""
    calls: list[Any] = []
    decoded: list[Any] = []
    decode = model.pipeline.vae.decode

    @functools.wraps(decode)
    def note(*args: Any, **kwargs: Any) -> Any:
        decoded.append((args, kwargs))
        return decode(*args, **kwargs)

    hook = model.denoiser.register_forward_pre_hook(
        lambda module, args, kwargs: calls.append((args, kwargs)), with_kwargs=True
    )
    model.pipeline.vae.decode = note
    try:
        embeddings = model.embed(["a red ball on grass"])[[0] * size]
        model.sample(embeddings, *initial_noise(range(size), model.latent_shape))
    finally:
        hook.remove()
        del model.pipeline.vae.decode
    return calls, decoded


def peak_gigabytes(device: str) -> float:
    """Since the last call; not a number where there is no accelerator to ask."""
    if not device.startswith("cuda"):
        return float("nan")
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return round(peak / 1e9, 2)


def surroundings(device: str) -> dict[str, Any]:
    """When, on what kind of device, with which libraries."""
    name = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "device": name,
        "versions": {library: version(library) for library in ("seedml", "torch", "diffusers")},
    }  # fmt: skip


if __name__ == "__main__":
    main()
