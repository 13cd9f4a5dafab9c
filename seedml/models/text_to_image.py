"""(prompts, noise) -> images, through diffusers. Knows Stable Diffusion and SDXL; knows nothing of grids and shards.

An image made here equals what ``pipeline(prompt, generator=torch.Generator("cpu").manual_seed(seed))`` makes in plain
diffusers at batch size 1, up to the rounding of another batch size.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from seedml.errors import UserError, unknown_name
from seedml.files import read_json
from seedml.models.folder import INDEX, ModelFacts, Sampling, model_facts
from seedml.models.quiet import quiet_libraries

if TYPE_CHECKING:
    from seedml.config import StudyConfig

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_MORE_SCHEDULERS = ("LCMScheduler", "TCDScheduler")
"""Run on these pipelines, though diffusers' own list leaves them out."""


@dataclass(frozen=True)
class PromptEmbeddings:
    """What the text encoders say of P prompts, one row a prompt, on the CPU. Indexable: ``embeddings[[0, 0, 3]]``."""

    prompt: Tensor
    """P × tokens × channels."""
    pooled: Tensor | None
    """P × channels (SDXL)."""
    negative: Tensor | None
    """1 × tokens × channels: the unconditional text, the same for all prompts; ``None`` without guidance."""
    negative_pooled: Tensor | None
    """1 × channels (SDXL with guidance)."""

    def __len__(self) -> int:
        return len(self.prompt)

    def __getitem__(self, rows: Sequence[int]) -> PromptEmbeddings:
        """The given rows, in the given order, repeats allowed."""
        index = torch.as_tensor(rows, dtype=torch.long)
        pooled = None if self.pooled is None else self.pooled[index]
        return PromptEmbeddings(self.prompt[index], pooled, self.negative, self.negative_pooled)

    @staticmethod
    def join(parts: Sequence[PromptEmbeddings]) -> PromptEmbeddings:
        """The rows of all parts, in order. All parts come from one model, so their negatives are the same."""
        pooled = [part.pooled for part in parts if part.pooled is not None]
        assert len(pooled) in (0, len(parts)), "either every part has pooled embeddings or none"
        return PromptEmbeddings(
            torch.cat([part.prompt for part in parts]), torch.cat(pooled) if pooled else None,
            parts[0].negative, parts[0].negative_pooled,
        )  # fmt: skip


class ImageBatch(NamedTuple):
    """Images and whether they are numbers at all."""

    images: Tensor
    """N × 3 × H × W uint8 0..255, on the model's device; black where not finite."""
    finite: Tensor
    """N bool, on the model's device: no NaN in the decoded image."""


class Pipeline:
    """A loaded diffusers pipeline with its sampler settings, and what its text encoders say."""

    def __init__(self, pipeline: Any, sampling: Sampling, latent_shape: tuple[int, int, int]) -> None:
        self.pipeline = pipeline
        self.sampling = sampling
        self.latent_shape = latent_shape

    @property
    def guided(self) -> bool:
        """Whether each step also runs on the unconditional text; the pipelines' own rule."""
        return self.sampling.guidance_scale > 1 and self.pipeline.unet.config.time_cond_proj_dim is None

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> PromptEmbeddings:
        """Text embeddings, one row a prompt. Each prompt is encoded alone, so its row does not depend on the others."""
        assert prompts, "no prompts to embed"
        rows = [self._encode(prompt, guided=False) for prompt in prompts]
        embeddings = PromptEmbeddings.join([PromptEmbeddings(row[0], row[2], None, None) for row in rows])
        if not self.guided:
            return embeddings
        _, negative, _, negative_pooled = self._encode(prompts[0], guided=True)
        return PromptEmbeddings(embeddings.prompt, embeddings.pooled, negative, negative_pooled)

    def _encode(self, prompt: str, *, guided: bool) -> list[Any]:
        """Prompt, negative, pooled and negative pooled embeddings of one prompt, 1 × … or ``None``, on the CPU."""
        encoded = self.pipeline.encode_prompt(
            prompt, device=self.pipeline._execution_device, num_images_per_prompt=1, do_classifier_free_guidance=guided
        )
        four = [*encoded, *[None] * (4 - len(encoded))]  # Stable Diffusion has no pooled ones
        return [None if value is None else value.cpu() for value in four]

    def _texts(self, embeddings: PromptEmbeddings, device: torch.device) -> dict[str, Tensor]:
        count = len(embeddings)
        texts = {
            "prompt_embeds": embeddings.prompt,
            "pooled_prompt_embeds": embeddings.pooled,
            "negative_prompt_embeds": _repeated(embeddings.negative, count),
            "negative_pooled_prompt_embeds": _repeated(embeddings.negative_pooled, count),
        }
        return {name: value.to(device) for name, value in texts.items() if value is not None}

    @torch.no_grad()
    def _run(
        self, embeddings: PromptEmbeddings, noise: Tensor, generators: Sequence[torch.Generator], **more: Any
    ) -> ImageBatch:
        """One image a row; ``more`` is what only some pipelines take."""
        assert len(embeddings) == len(noise) == len(generators), "one embedding, one noise and one generator a row"
        assert tuple(noise.shape[1:]) == self.latent_shape, f"noise {tuple(noise.shape[1:])} for {self.latent_shape}"
        device, dtype = self.pipeline._execution_device, self.pipeline.unet.dtype
        pixels = self.pipeline(
            **self._texts(embeddings, device),
            latents=noise.to(device=device, dtype=dtype),
            generator=list(generators),
            num_inference_steps=self.sampling.steps,
            guidance_scale=self.sampling.guidance_scale,
            height=self.sampling.height,
            width=self.sampling.width,
            output_type="pt",
            return_dict=False,
            **more,
        )[0]
        return _to_uint8(pixels)


class TextToImage(Pipeline):
    """A pipeline that makes images of prompts."""

    def sample(
        self, embeddings: PromptEmbeddings, noise: Tensor, generators: Sequence[torch.Generator],
        after_step: Callable[[int], None] | None = None, eta: float = 0.0,
    ) -> ImageBatch:  # fmt: skip
        """One image a row.

        Args:
            embeddings: N rows.
            noise: the initial noise, N × C × H × W float32, not yet scaled by the scheduler.
            generators: N, each for the later draws of its own row.
            after_step: called with the number of each sampling step, from 0, when it has made its draws.
            eta: DDIM's share of fresh noise at each step, 0 to 1 (Song et al. 2021, eq. 16); others do not heed it.

        """
        return self._run(embeddings, noise, generators, callback_on_step_end=_callback(after_step), eta=eta)

    def images(self, embeddings: PromptEmbeddings, noise: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """:meth:`sample` without the check for NaN: N × 3 × H × W uint8 0..255."""
        return self.sample(embeddings, noise, generators).images


def _callback(after_step: Callable[[int], None] | None) -> Callable[..., dict[str, Any]] | None:
    """``after_step`` as diffusers calls it; it changes none of the pipeline's tensors."""
    if after_step is None:
        return None

    def call(pipeline: object, step: int, timestep: object, tensors: object) -> dict[str, Any]:
        after_step(step)
        return {}

    return call


def _repeated(row: Tensor | None, count: int) -> Tensor | None:
    return None if row is None else row.expand(count, *row.shape[1:])


def _to_uint8(pixels: Tensor) -> ImageBatch:
    """N × 3 × H × W 0..1 to uint8, rounded as diffusers' ``numpy_to_pil`` rounds: half to even, in float32."""
    finite = pixels.isfinite().flatten(1).all(1)
    whole = (pixels.float() * 255).round()
    return ImageBatch(whole.where(finite[:, None, None, None], whole.new_zeros(())).to(torch.uint8), finite)


def load_text_to_image(config: StudyConfig, device: torch.device | str = "cpu") -> TextToImage:
    """The study's model, ready to sample on ``device``. The safety checker and the invisible watermark are left out.

    Raises:
        UserError: the folder, hub id, size, dtype or scheduler of the configuration cannot be had.

    """
    facts = model_facts(config)
    pipeline = load_pipeline("AutoPipelineForText2Image", facts, config.model.variant, device)
    return TextToImage(pipeline, facts.sampling, facts.latent_shape)


def load_pipeline(auto: str, facts: ModelFacts, variant: str | None, device: torch.device | str) -> Any:
    """A model folder's pipeline on ``device``, silent, with the configured scheduler and without checker and watermark.

    Args:
        auto: the class of diffusers that finds the pipeline's class, such as ``AutoPipelineForInpainting``.
        facts: of the folder.
        variant: of the weight files.
        device: where it is to run.

    Raises:
        UserError: no such weights, an unknown dtype or scheduler.

    """
    if facts.sampling.dtype not in DTYPES:
        raise unknown_name("sampler.dtype", facts.sampling.dtype, DTYPES)
    with quiet_libraries():
        pipeline = _from_folder(auto, facts.folder, DTYPES[facts.sampling.dtype], variant)
        pipeline.scheduler = _scheduler(pipeline.scheduler, facts.sampling)
        pipeline.set_progress_bar_config(disable=True)
        pipeline.to(device)
        if torch.device(device).type in ("cpu", "cuda"):
            # convolutions are faster so: 20 % of seedling's decoding on a CPU, at the price of rounding only
            pipeline.unet.to(memory_format=torch.channels_last)
            pipeline.vae.to(memory_format=torch.channels_last)
    return pipeline


def _from_folder(auto: str, folder: Path, dtype: torch.dtype, variant: str | None) -> Any:
    import diffusers

    loader: Any = getattr(diffusers, auto)
    has_checker = "safety_checker" in read_json(folder / INDEX)
    try:
        pipeline = loader.from_pretrained(
            folder, dtype=dtype, variant=variant, use_safetensors=True, local_files_only=True,
            low_cpu_mem_usage=find_spec("accelerate") is not None,
            **({"safety_checker": None, "requires_safety_checker": False} if has_checker else {}),
        )  # fmt: skip
    except OSError as error:
        raise UserError(
            f"the weights in model.path cannot be loaded ({str(error).splitlines()[0]})", given=str(folder),
            legal="safetensors weights of the configured model.variant",
            remedy="set or drop model.variant, or download the model again",
        ) from error  # fmt: skip
    if getattr(pipeline, "watermark", None) is not None:
        pipeline.watermark = None
    return pipeline


def _scheduler(own: Any, sampling: Sampling) -> Any:
    """A fresh scheduler of the configured class, with the folder's values where no option replaces them."""
    import diffusers
    from diffusers.schedulers.scheduling_utils import KarrasDiffusionSchedulers

    known = {*(scheduler.name for scheduler in KarrasDiffusionSchedulers), *_MORE_SCHEDULERS, type(own).__name__}
    if sampling.scheduler not in known:
        raise unknown_name("sampler.scheduler", sampling.scheduler, known)
    cls = type(own) if sampling.scheduler == type(own).__name__ else getattr(diffusers, sampling.scheduler)
    options = [name for name in inspect.signature(cls.__init__).parameters if name != "self"]
    for name in sampling.scheduler_options:
        if name not in options:
            raise unknown_name(f"model.scheduler_options for {sampling.scheduler}", name, options)
    try:
        scheduler = cls.from_config(own.config, **sampling.scheduler_options)
        scheduler.set_timesteps(sampling.steps)  # some refuse some numbers of steps: find out before the first image
    except (ImportError, NotImplementedError, ValueError) as error:
        raise UserError(
            f"the scheduler cannot be used ({str(error).strip().splitlines()[0]})",
            given=f"{sampling.scheduler}, {sampling.steps} steps, options {sampling.scheduler_options}",
            remedy="choose another sampler.scheduler, sampler.steps or model.scheduler_options",
        ) from error  # fmt: skip
    return scheduler
