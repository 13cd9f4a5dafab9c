"""``seedml train seedling``: the bundled model and its parser, from nothing to the folder that ships.

Autoencoder and parser learn from rendered scenes; text encoder and U-Net learn on the autoencoder's latents and are
distilled to few steps. Every stage checkpoints; the same command again goes on where the last one stopped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seedml.config import RunsConfig, StudyConfig, TrackingConfig, TrainerConfig
from seedml.config_text import split_override
from seedml.errors import UserError
from seedml.files import finish_step, step_is_done

if TYPE_CHECKING:
    from pytorch_lightning import LightningDataModule, LightningModule

    from seedml.tracking import Tracker


@dataclass
class StageConfig:
    """Length and pace of one stage."""

    steps: int
    """Optimiser steps."""
    batch_size: int
    """Scenes a step and device."""
    learning_rate: float
    """Peak of the schedule."""


@dataclass
class TrainingConfig:
    """The whole training. The defaults made the weights that ship (see the model card)."""

    name: str = "seedling"
    """Names the folder ``<runs.root>/<name>`` of checkpoints and results."""
    seed: int = 0
    """Seed of initial weights and of the streams of scenes."""
    out: str | None = None
    """Where the finished ``seedling`` and ``parser`` folders go; null = ``<runs.root>/<name>/weights``."""
    checkpoint_every: int = 500
    """Optimiser steps between checkpoints."""
    latents: int = 40_000
    """Scenes whose latents are computed once and seen again by the denoiser."""
    autoencoder: StageConfig = field(default_factory=lambda: StageConfig(4500, 32, 2e-3))
    parser: StageConfig = field(default_factory=lambda: StageConfig(1200, 64, 3e-3))
    denoiser: StageConfig = field(default_factory=lambda: StageConfig(8_000, 32, 1.2e-3))
    distillation: StageConfig = field(default_factory=lambda: StageConfig(800, 32, 3e-4))
    """Each of the rounds."""
    rounds: list[int] = field(default_factory=lambda: [4])
    """Sampling steps of the students, each distilled from the one before, the first from twice as many steps of the
    denoiser: ``[4]`` makes a model for four steps."""
    guidance: float = 4.0
    """Classifier-free guidance of the first student's teacher; the students have it built in."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    runs: RunsConfig = field(default_factory=RunsConfig)


@dataclass(frozen=True)
class Stage:
    """One part of the training: how to build it, and what it leaves behind."""

    name: str
    config: StageConfig
    build: Callable[[dict[str, Any]], LightningModule]
    data: Callable[[Stage], LightningDataModule]
    export: Callable[[Any, Path], None]


def train(overrides: Sequence[str]) -> None:
    """Train what is not trained yet and write the finished folders.

    Args:
        overrides: words ``key=value`` that change :class:`TrainingConfig`.

    Raises:
        UserError: an unknown key, a bad value, or a run folder with other settings.

    """
    from seedml.tracking import open_tracker

    config = _configure(overrides)
    study = StudyConfig(name=config.name, runs=config.runs, trainer=config.trainer, tracking=config.tracking)
    with open_tracker(study, "train", study.run_dir) as tracker:
        for stage in stages(config, study.run_dir):
            _run_stage(config, stage, study.run_dir, tracker)
    out = Path(config.out) if config.out else study.run_dir / "weights"
    _assemble(study.run_dir, stages(config, study.run_dir)[-1].name, out)
    print(f"seedling and its parser are in {out}")


def stages(config: TrainingConfig, run_dir: Path) -> list[Stage]:
    """The stages in order; each reads the folders that those before it left in ``run_dir``."""
    from seedml.models.bundled.autoencoder import AutoencoderTraining
    from seedml.models.bundled.denoiser import DenoiserTraining
    from seedml.models.bundled.distillation import Distillation
    from seedml.models.bundled.parser_training import ParserTraining

    scenes = partial(_scene_data, config)
    latents = partial(_latent_data, config, run_dir)
    listed = [
        Stage("autoencoder", config.autoencoder, AutoencoderTraining, scenes, _export_autoencoder),
        Stage(
            "parser",
            config.parser,
            partial(ParserTraining, autoencoder=str(run_dir / "autoencoder")),
            scenes,
            lambda module, folder: module.parser.save(folder),
        ),
        Stage("denoiser", config.denoiser, DenoiserTraining, latents, _export_denoiser),
    ]
    teacher, guidance = str(run_dir / "denoiser"), config.guidance
    for steps in config.rounds:
        build = partial(Distillation, teacher=teacher, steps=steps, guidance=guidance)
        listed.append(Stage(f"distillation-{steps}", config.distillation, build, latents, _export_denoiser))
        teacher, guidance = str(run_dir / listed[-1].name), 1.0
    return listed


def _configure(overrides: Sequence[str]) -> TrainingConfig:
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    words = [f"{key}={text}" for key, text in map(split_override, overrides)]
    try:
        merged = OmegaConf.merge(OmegaConf.structured(TrainingConfig), OmegaConf.from_dotlist(words))
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        legal = ", ".join(TrainingConfig.__dataclass_fields__)
        raise UserError(
            str(error).splitlines()[0],
            given=" ".join(words),
            legal=legal,
            remedy="set one of these, such as denoiser.steps=…",
        ) from error
    assert isinstance(config, TrainingConfig)
    return config


def _run_stage(config: TrainingConfig, stage: Stage, run_dir: Path, tracker: Tracker) -> None:
    """Train one stage from its last checkpoint, export it and mark it done."""
    settings = {"seed": config.seed, **asdict(stage.config)}
    if stage.name.startswith("distillation"):
        settings["guidance"] = config.guidance
    if step_is_done(run_dir, f"train-{stage.name}", settings):
        return
    module = _fit(config, stage, run_dir / "checkpoints" / stage.name, tracker)
    if module is None:
        return
    folder = run_dir / stage.name
    shutil.rmtree(folder, ignore_errors=True)  # left by a run that died while exporting
    stage.export(module, folder)
    finish_step(run_dir, f"train-{stage.name}", settings)


def _fit(config: TrainingConfig, stage: Stage, folder: Path, tracker: Tracker) -> LightningModule | None:
    """The trained module with averaged weights, on rank zero; ``None`` on the others."""
    import pytorch_lightning as pl
    import torch
    from pytorch_lightning.callbacks import EMAWeightAveraging, LearningRateMonitor, ModelCheckpoint
    from torch.nn.attention import SDPBackend, sdpa_kernel

    from seedml.lightning import RateProgressBar, precision_of, quiet_lightning
    from seedml.noise import seeded

    torch.set_float32_matmul_precision("high")
    schedule = {"steps": stage.config.steps, "learning_rate": stage.config.learning_rate}
    with seeded(config.seed):
        module = stage.build(schedule).to(memory_format=torch.channels_last)
    checkpoint = ModelCheckpoint(folder, save_last=True, save_top_k=0, every_n_train_steps=config.checkpoint_every)
    logger = tracker.lightning_logger()
    trainer = pl.Trainer(
        accelerator=config.trainer.accelerator, devices=config.trainer.devices, num_nodes=config.trainer.num_nodes,
        strategy=config.trainer.strategy, precision=precision_of(config.trainer.precision, config.trainer.accelerator),  # type: ignore[arg-type]
        max_steps=stage.config.steps, gradient_clip_val=1.0, logger=logger, log_every_n_steps=50,
        enable_model_summary=False,
        callbacks=[
            checkpoint, EMAWeightAveraging(decay=0.98, update_every_n_steps=4),
            RateProgressBar(f"train {stage.name}", each_step=("loss", "latent_std")),
            *([LearningRateMonitor()] if logger else []),
        ],
    )  # fmt: skip
    last = folder / "last.ckpt"
    # flash attention's way back is slow on a CPU for so few tokens: a quarter of the denoiser's step
    attention = sdpa_kernel(SDPBackend.MATH) if trainer.strategy.root_device.type == "cpu" else nullcontext()
    with seeded(config.seed), quiet_lightning(), attention:
        trainer.fit(module, stage.data(stage), ckpt_path=str(last) if last.exists() else None, weights_only=True)
    return module.cpu().eval() if trainer.is_global_zero else None


def _scene_data(config: TrainingConfig, stage: Stage) -> LightningDataModule:
    from seedml.models.bundled.stream import SceneData

    return SceneData(config.seed + _stream(stage.name), stage.config.batch_size, stage.config.steps)


def _latent_data(config: TrainingConfig, run_dir: Path, stage: Stage) -> LightningDataModule:
    from seedml.models.bundled.latents import LatentData

    seed = config.seed + _stream("latents")
    return LatentData(run_dir / "autoencoder", config.latents, seed, stage.config.batch_size, stage.config.steps)


def _stream(stage: str) -> int:
    """A stream of scenes of each stage's own, far from those of a study's reference pictures."""
    return 1_000 + sum(stage.encode())


def _export_autoencoder(module: Any, folder: Path) -> None:
    from seedml.models.bundled.autoencoder import latent_scale
    from seedml.models.bundled.scenes import sample_scenes

    scale = latent_scale(module.vae, sample_scenes(999, range(256)))
    module.vae.register_to_config(scaling_factor=scale)
    module.vae.save_pretrained(folder)


def _export_denoiser(module: Any, folder: Path) -> None:
    module.unet.save_pretrained(folder / "unet")
    module.text_encoder.save_pretrained(folder / "text_encoder")


def _assemble(run_dir: Path, denoiser: str, out: Path) -> None:
    """Write the pipeline (float16 safetensors) and the parser into ``out``."""
    import torch
    from diffusers import AutoencoderKL, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextModel

    from seedml.models.bundled.denoiser import build_scheduler
    from seedml.models.bundled.words import build_tokenizer

    last = run_dir / denoiser
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL.from_pretrained(run_dir / "autoencoder"),
        text_encoder=CLIPTextModel.from_pretrained(last, subfolder="text_encoder"), tokenizer=build_tokenizer(),
        unet=UNet2DConditionModel.from_pretrained(last, subfolder="unet"), scheduler=build_scheduler(),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.to(dtype=torch.float16).save_pretrained(out / "seedling")
    _load_as_float32(out / "seedling" / "text_encoder" / "config.json")
    shutil.copytree(run_dir / "parser", out / "parser", dirs_exist_ok=True)
    for path in out.rglob("*"):
        if path.is_file():
            path.chmod(0o644)  # safetensors writes 0600
    (out / "training.json").write_text(json.dumps(_provenance(run_dir), indent=2) + "\n")


def _load_as_float32(path: Path) -> None:
    """Let transformers, which otherwise keeps the file's type, widen float16 weights as diffusers does."""
    path.write_text(json.dumps({**json.loads(path.read_text()), "dtype": "float32"}, indent=2) + "\n")


def _provenance(run_dir: Path) -> dict[str, object]:
    """What made the weights: settings of every stage, device and versions."""
    import diffusers
    import pytorch_lightning
    import torch

    markers = sorted((run_dir / ".steps").glob("train-*.json"))
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    versions = {module.__name__: module.__version__ for module in (torch, pytorch_lightning, diffusers)}
    return {
        "stages": {path.stem.removeprefix("train-"): json.loads(path.read_text()) for path in markers},
        "device": device, "versions": versions,
    }  # fmt: skip
