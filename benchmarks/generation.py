"""How fast are images made, and how fast could they be? Prints one JSON object; the README quotes it.

    python benchmarks/generation.py [--images 2048] [--steps 4] [--batch-size 32] [--model seedling] [--repeats 5]
    python benchmarks/generation.py --random-sd2 --device cuda --images 256 --steps 20

Three ways to make the same images of the same prompts and seeds, in images a second, none with the time to load
the model. They take turns on one machine, in two processes that wait for each other:

plain   the loop that a user of diffusers writes: the pipeline, prompt after prompt, seeds in batches, a list of CPU
        generators, each image saved as a PNG file
seedml  the step `generate` from configuration to finished shards, as the command line runs it
bare    denoiser, scheduler and decoder on seedml's own batches, with embeddings and noise ready, and nothing saved:
        the limit

`--random-sd2` measures Stable Diffusion 2 with random weights at 512 × 512 px in bfloat16, for accelerators.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib
import inspect
import io
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from seedml.config import StudyConfig, load_config
from seedml.grid import Cell, build_grid
from seedml.prompts import load_prompts

TARGETS = {"seedml / bare": 0.90, "seedml / plain": 1.3}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Pictures = dict[Cell, np.ndarray]


def main() -> None:
    """Measure and print."""
    options = parse()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = Path(folder)
        config_path = write_study(root, options)
        workers = {"plain": Worker(Plain, config_path, options), "seedml": Worker(Seedml, config_path, options)}
        runs: dict[str, Callable[[], float]] = {
            "plain": lambda: workers["plain"].ask("run"),
            "seedml": lambda: workers["seedml"].ask("run"),
            "bare": lambda: workers["seedml"].ask("bare"),
        }
        seconds: dict[str, list[float]] = {name: [] for name in runs}
        for turn in range(options.repeats):
            names = list(runs)
            for name in names[turn % 3 :] + names[: turn % 3]:  # each comes first, second and last in turn
                seconds[name].append(runs[name]())
        pictures = {name: worker.ask("pictures") for name, worker in workers.items()}
        pictures["bare"] = workers["seedml"].ask("bare_pictures")
        for worker in workers.values():
            worker.end()
        config = load_config(str(config_path))
    print(json.dumps(report(options, config, seconds, pictures), indent=2))


def parse() -> argparse.Namespace:
    """The command line."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--images", type=int, default=2048, help="made in each run; a multiple of --batch-size")
    arguments.add_argument("--steps", type=int, help="sampling steps; default: the model's own")
    arguments.add_argument("--batch-size", type=int, default=32, help="images in a forward pass, and seeds")
    arguments.add_argument("--model", default="seedling", help="a name in configs/models, or a pipeline's folder")
    arguments.add_argument("--repeats", type=int, default=5)
    arguments.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="CPU threads of torch")
    arguments.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    arguments.add_argument("--random-sd2", action="store_true", help="Stable Diffusion 2 with random weights")
    arguments.add_argument("--folder", type=Path, help="on the disk to write to; default: the temporary folder's")
    options = arguments.parse_args()
    if options.images % options.batch_size or options.images < options.batch_size:
        arguments.error("--images has to be a multiple of --batch-size")
    return options


def write_study(root: Path, options: argparse.Namespace) -> Path:
    """The study's configuration: as many seeds as fit a batch, and as many prompts as it takes."""
    model: Any = options.model
    if options.random_sd2:
        model = {"path": str(random_sd2(root / "sd2")), "dtype": "bfloat16", "steps": 20, "guidance_scale": 7.5}
    elif Path(options.model).is_dir():
        model = {"path": options.model}
    settings = {
        "name": "benchmark", "seeds": f"0:{options.batch_size}", "model": model,
        "prompts": {"set": "scenes", "limit": options.images // options.batch_size, "splits": {"train": 1.0}},
        "sampler": {"batch_size": options.batch_size, "steps": options.steps},
        "shards": {"root": str(root / "shards")}, "runs": {"root": str(root / "runs")},
        "trainer": {"accelerator": options.device, "threads": options.threads}, "tracking": {"mode": "disabled"},
    }  # fmt: skip
    path = root / "benchmark.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


class Worker:
    """A contestant in a process of its own, so that neither's settings of the memory or of torch help the other."""

    def __init__(self, contestant: type[Plain] | type[Seedml], config: Path, options: argparse.Namespace) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=work, args=(theirs, contestant, config, options))
        self._process.start()
        theirs.close()
        assert self._connection.recv() == "ready"

    def ask(self, question: str) -> Any:
        """Have a method called, and wait for its answer."""
        self._connection.send(question)
        return self._connection.recv()

    def end(self) -> None:
        """Let the process end."""
        self._connection.send(None)
        self._process.join()


def work(
    connection: Connection, contestant: type[Plain] | type[Seedml], config: Path, options: argparse.Namespace
) -> None:
    """In the contestant's process: load, warm up, then do as asked."""
    torch.set_num_threads(options.threads)
    os.environ |= {"DIFFUSERS_VERBOSITY": "error", "TRANSFORMERS_VERBOSITY": "error", "HF_HUB_OFFLINE": "1"}
    it = contestant(config, options)
    it.run()  # what comes first is slower: kernels are chosen, memory is fetched
    connection.send("ready")
    while (question := connection.recv()) is not None:
        connection.send(getattr(it, question)())


def synchronise(device: str) -> None:
    """Until the accelerator has done what it was asked for."""
    if device != "cpu":
        torch.accelerator.synchronize()


class Plain:
    """What a user of diffusers writes."""

    def __init__(self, config: Path, options: argparse.Namespace) -> None:
        from diffusers import StableDiffusionPipeline

        from seedml.models.folder import model_facts

        self.config, self.device = load_config(str(config)), options.device
        self.prompts = load_prompts(self.config.prompts)
        self.sampling = model_facts(self.config).sampling
        folder = model_facts(self.config).folder
        pipeline: Any = StableDiffusionPipeline
        self.pipe = pipeline.from_pretrained(folder, dtype=DTYPES[self.sampling.dtype], safety_checker=None)
        self.pipe.to(self.device)
        self.pipe.set_progress_bar_config(disable=True)
        self.folder = Path(tempfile.mkdtemp(dir=config.parent))

    def run(self) -> float:
        """Seconds for all images."""
        seeds, size = self.config.seed_list, self.config.sampler.batch_size
        started = time.perf_counter()
        for prompt in self.prompts:
            for start in range(0, len(seeds), size):
                batch = seeds[start : start + size]
                images = self.pipe(
                    [prompt.text] * len(batch),
                    generator=[torch.Generator("cpu").manual_seed(seed) for seed in batch],
                    num_inference_steps=self.sampling.steps,
                    guidance_scale=self.sampling.guidance_scale,
                ).images
                for seed, image in zip(batch, images, strict=True):
                    image.save(self.folder / f"{seed}_{prompt.prompt_id}.png")
        return time.perf_counter() - started

    def pictures(self) -> Pictures:
        """The images of the last run."""
        cells = [(seed, prompt.prompt_id) for seed in self.config.seed_list for prompt in self.prompts]
        return {Cell(*cell): np.array(Image.open(self.folder / f"{cell[0]}_{cell[1]}.png")) for cell in cells}


class Seedml:
    """The step ``generate`` with a model that is loaded already; and the bare computation with that same model."""

    def __init__(self, config: Path, options: argparse.Namespace) -> None:
        step: Any = importlib.import_module("seedml.generation.step")
        text_to_image: Any = importlib.import_module("seedml.models.text_to_image")

        self.path, self.config, self.device = config, load_config(str(config)), options.device
        self.model = text_to_image.load_text_to_image(self.config, self.device)
        identity = step.model_identity(self.config.model)
        text_to_image.load_text_to_image = lambda *_: self.model
        step.model_identity = lambda *_: identity  # it reads all weights: part of loading them
        self.batches = list(self._batches())
        self.shards = config.parent

    def run(self) -> float:
        """Seconds from the command to finished shards."""
        from seedml.__main__ import main as seedml

        root = Path(tempfile.mkdtemp(dir=self.path.parent))
        self.shards = root / "shards"
        said = io.StringIO()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            started = time.perf_counter()
            status = seedml(["generate", str(self.path), f"shards.root={self.shards}", f"runs.root={root}"])
            seconds = time.perf_counter() - started
        assert status == 0, said.getvalue()
        return seconds

    def pictures(self) -> Pictures:
        """The images of the last run."""
        from seedml.shards.reader import read_shard

        shards = sorted((self.shards / self.config.name).glob("*.tar"))
        samples = (sample for shard in shards for sample in read_shard(shard))
        return {Cell(sample.seed, sample.prompt_id): sample.pixels() for sample in samples}

    def _batches(self) -> Iterator[tuple[list[Cell], Any, torch.Tensor]]:
        """Cells, embeddings and noise of each batch that ``generate`` computes."""
        from seedml.generation.batches import work_batches
        from seedml.generation.work import Work
        from seedml.noise import cell_noise

        prompts = load_prompts(self.config.prompts)
        embeddings = self.model.embed([prompt.text for prompt in prompts])
        rows = {prompt.prompt_id: row for row, prompt in enumerate(prompts)}
        for tile in build_grid(self.config, prompts).tiles_for(self.config.shards):
            for batch in work_batches(Work(tile, tuple(tile.cells())), self.config.sampler.batch_size):
                noise, _ = cell_noise([c.seed for c in batch.cells], self.model.latent_shape, self.config.noise)
                texts = self.model._texts(embeddings[[rows[c.prompt_id] for c in batch.cells]], self.device)
                yield batch.cells[: batch.real], texts, noise.to(self.device, self.model.pipeline.unet.dtype)

    def bare(self) -> float:
        """Seconds for denoiser and decoder."""
        synchronise(self.device)
        started = time.perf_counter()
        with torch.inference_mode():
            for cells, texts, noise in self.batches:
                self._decoded(cells, texts, noise)
        synchronise(self.device)
        return time.perf_counter() - started

    def _decoded(self, cells: list[Cell], texts: dict[str, torch.Tensor], noise: torch.Tensor) -> torch.Tensor:
        """N × 3 × H × W about -1..1."""
        pipe, sampling, guided = self.model.pipeline, self.model.sampling, self.model.guided
        hidden = texts["prompt_embeds"]
        if guided:
            hidden = torch.cat([texts["negative_prompt_embeds"], hidden])
        scheduler = pipe.scheduler
        scheduler.set_timesteps(sampling.steps, device=noise.device)
        draws = {}
        if "generator" in inspect.signature(scheduler.step).parameters:
            draws = {"generator": [torch.Generator("cpu").manual_seed(c.seed) for c in cells]}
        latents = noise * scheduler.init_noise_sigma
        for time_step in scheduler.timesteps:
            inputs = scheduler.scale_model_input(torch.cat([latents] * 2) if guided else latents, time_step)
            predicted = pipe.unet(inputs, time_step, encoder_hidden_states=hidden, return_dict=False)[0]
            if guided:
                without, towards = predicted.chunk(2)
                predicted = without + sampling.guidance_scale * (towards - without)
            latents = scheduler.step(predicted, time_step, latents, **draws, return_dict=False)[0]
        decoded: torch.Tensor = pipe.vae.decode(latents / pipe.vae.config.scaling_factor, return_dict=False)[0]
        return decoded

    @torch.inference_mode()
    def bare_pictures(self) -> Pictures:
        """The images of the bare computation."""
        found: Pictures = {}
        for cells, texts, noise in self.batches:
            images = ((self._decoded(cells, texts, noise).float() / 2 + 0.5).clamp(0, 1) * 255).round()
            found |= dict(zip(cells, images.permute(0, 2, 3, 1).byte().cpu().numpy(), strict=False))
        return found


def report(
    options: argparse.Namespace, config: StudyConfig, seconds: dict[str, list[float]], pictures: dict[str, Pictures]
) -> dict[str, Any]:
    """What is printed."""
    device = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    rates = {name: [options.images / spent for spent in all_runs] for name, all_runs in seconds.items()}
    ratios = {}
    for pair in TARGETS:
        name, other = pair.split(" / ")
        by_turn = [mine / theirs for mine, theirs in zip(rates[name], rates[other], strict=True)]
        ratios[pair] = {"median": round(statistics.median(by_turn), 3), "turns": [round(ratio, 3) for ratio in by_turn],
                        "target": TARGETS[pair]}  # fmt: skip
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "device": device, "threads": options.threads,
        "model": "random Stable Diffusion 2" if options.random_sd2 else config.model.name,
        "dtype": config.sampler.dtype, "steps": config.sampler.steps, "guidance_scale": config.sampler.guidance_scale,
        "batch_size": options.batch_size, "images": options.images,
        "images_per_second": {
            name: {"median": round(statistics.median(values), 2), "turns": [round(value, 2) for value in values]}
            for name, values in rates.items()
        },
        "ratios": ratios,
        "levels_from_seedml": {name: differences(pictures["seedml"], pictures[name]) for name in ("plain", "bare")},
        "versions": {name: version(name) for name in ("seedml", "torch", "diffusers", "pillow", "pytorch-lightning")},
    }  # fmt: skip


def differences(images: Pictures, others: Pictures) -> dict[str, float]:
    """Levels of 255 between two ways to make the same images: that they do the same work."""
    assert images.keys() == others.keys(), "one way has images that the other has not"
    apart = [np.abs(image.astype(int) - others[cell]) for cell, image in images.items()]
    return {"largest": int(max(d.max() for d in apart)), "mean": round(float(np.mean([d.mean() for d in apart])), 5)}


def random_sd2(folder: Path) -> Path:
    """Stable Diffusion 2 (base, 512 × 512 px) with random weights and a tokenizer of single bytes, in bfloat16."""
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    symbols = sorted(ByteLevel.alphabet())
    names = [*symbols, *(f"{symbol}</w>" for symbol in symbols), "<|startoftext|>", "<|endoftext|>"]
    tokenizer = CLIPTokenizer(vocab={name: i for i, name in enumerate(names)}, merges=[], model_max_length=77)
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), hidden_size=1024, intermediate_size=4096, num_hidden_layers=23,
        num_attention_heads=16, hidden_act="gelu", bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=64, cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True
    )
    vae = AutoencoderKL(
        sample_size=512, block_out_channels=(128, 256, 512, 512), layers_per_block=2,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    )  # fmt: skip
    scheduler = DDIMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False,
        steps_offset=1,
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(text).eval(), tokenizer=tokenizer, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.to(dtype=torch.bfloat16).save_pretrained(folder)
    return folder


if __name__ == "__main__":
    main()
