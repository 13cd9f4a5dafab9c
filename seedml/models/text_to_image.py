"""(prompts, noise) -> images, through diffusers' pipelines (``families.py``). Knows nothing of grids and shards.

An image made here equals what ``pipeline(prompt, generator=torch.Generator("cpu").manual_seed(seed))`` makes in plain
diffusers at batch size 1, up to the rounding of another batch size. Two families need a word more in plain diffusers:

- Stable Diffusion 3 and Flux do not hand the generator on to schedulers that add noise while sampling, which then draw
  from torch's global one. Here they are given the image's own, as all others are: in plain diffusers,
  ``pipeline.scheduler.step = functools.partial(pipeline.scheduler.step, generator=generator)``.
- PixArt and Sana make images of a few sizes and scale them to the one that is wanted. Here they make the wanted size:
  ``use_resolution_binning=False``. At their own sizes (1024 × 1024 …) both are the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from seedml.models import families
from seedml.models.folder import Sampling, model_facts
from seedml.models.loading import load_pipeline
from seedml.models.text_encoders import TextEncoders

if TYPE_CHECKING:
    from seedml.config import StudyConfig

_ROWS = {families.PROMPT: "prompt", families.POOLED: "pooled", families.MASK: "mask"}
"""Argument of a pipeline's call -> field of :class:`PromptEmbeddings`, where each prompt has its own."""
_SHARED = {
    families.NEGATIVE: "negative", families.NEGATIVE_POOLED: "negative_pooled", families.NEGATIVE_MASK: "negative_mask",
}  # fmt: skip
"""The same of the unconditional text, which all prompts share."""
_TEXT_OPTIONS = ("max_sequence_length", "clean_caption", "complex_human_instruction", "clip_skip")
"""What a pipeline's call hands on to its ``encode_prompt``; their defaults may differ."""


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
    mask: Tensor | None = None
    """P × tokens, 1 where the prompt has one (PixArt, Sana)."""
    negative_mask: Tensor | None = None
    """1 × tokens."""

    def __len__(self) -> int:
        return len(self.prompt)

    def __getitem__(self, rows: Sequence[int]) -> PromptEmbeddings:
        """The given rows, in the given order, repeats allowed."""
        index = torch.as_tensor(rows, dtype=torch.long)
        own: dict[str, Any] = {field: None if value is None else value[index] for field, value in self._own().items()}
        return PromptEmbeddings(**own, **self._shared())

    @staticmethod
    def join(parts: Sequence[PromptEmbeddings]) -> PromptEmbeddings:
        """The rows of all parts, in order. All parts come from one model, so their negatives are the same."""
        own: dict[str, Any] = {}
        for field in _ROWS.values():
            values = [getattr(part, field) for part in parts]
            there = [value for value in values if value is not None]
            assert len(there) in (0, len(parts)), f"either every part has {field} embeddings or none"
            own[field] = torch.cat(there) if there else None
        return PromptEmbeddings(**own, **parts[0]._shared())

    def _own(self) -> dict[str, Any]:
        return {field: getattr(self, field) for field in _ROWS.values()}

    def _shared(self) -> dict[str, Any]:
        return {field: getattr(self, field) for field in _SHARED.values()}


class ImageBatch(NamedTuple):
    """Images and whether they are numbers at all."""

    images: Tensor
    """N × 3 × H × W uint8 0..255, on the model's device; black where not finite."""
    finite: Tensor
    """N bool, on the model's device: no NaN in the decoded image."""

    @property
    def usable(self) -> Tensor:
        """N bool, as ``finite``: pictures, as ``generate`` counts them. Not flat ones: safety checkers blacken."""
        pixels = self.images.flatten(1)
        return self.finite & (pixels.amin(1) != pixels.amax(1))


class Pipeline:
    """A loaded diffusers pipeline with its sampler settings, and what its text encoders say.

    Args:
        pipeline: of one of the classes in ``families.py``.
        sampling: its settings.
        latent_shape: C × H × W of one image's noise, as it is drawn.
        encoders_leave: whether text encoders leave the device while images are made.

    """

    def __init__(
        self, pipeline: Any, sampling: Sampling, latent_shape: tuple[int, int, int], *, encoders_leave: bool = False
    ) -> None:
        self.pipeline = pipeline
        self.sampling = sampling
        self.latent_shape = latent_shape
        self.family = families.family_of(type(pipeline).__name__)
        self._encoders = TextEncoders(pipeline, leave=encoders_leave)
        self._call = inspect.signature(pipeline.__call__).parameters

    @property
    def denoiser(self) -> Any:
        """The network that is called once a step."""
        unet = getattr(self.pipeline, "unet", None)
        return self.pipeline.transformer if unet is None else unet

    @property
    def guided(self) -> bool:
        """Whether each step also runs on the unconditional text; the pipelines' own rule."""
        takes_scale = getattr(self.denoiser.config, "time_cond_proj_dim", None) is not None
        return self.family.unconditional and self.sampling.guidance_scale > 1 and not takes_scale

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> PromptEmbeddings:
        """Text embeddings, one row a prompt. Each prompt is encoded alone, so its row does not depend on the others."""
        assert prompts, "no prompts to embed"
        with self._encoders.reading(self.pipeline._execution_device):
            rows = [self._encode(prompt, guided=False) for prompt in prompts]
            shared = self._encode(prompts[0], guided=True) if self.guided else {}
        own = PromptEmbeddings.join([PromptEmbeddings(**_fields(row, _ROWS), **_fields({}, _SHARED)) for row in rows])
        return PromptEmbeddings(**own._own(), **_fields(shared, _SHARED))

    def _encode(self, prompt: str, *, guided: bool) -> dict[str, Tensor | None]:
        """Argument of the call -> embedding of one prompt, 1 × …, on the CPU."""
        parameters = inspect.signature(self.pipeline.encode_prompt).parameters
        given = {
            "prompt": prompt, "prompt_2": None, "prompt_3": None, "device": self.pipeline._execution_device,
            "num_images_per_prompt": 1, "do_classifier_free_guidance": guided, **self._text_options(),
        }  # fmt: skip
        encoded = self.pipeline.encode_prompt(**{name: value for name, value in given.items() if name in parameters})
        named = zip(self.family.encoded, encoded, strict=True)
        return {name: None if value is None else value.cpu() for name, value in named if name is not None}

    def _text_options(self) -> dict[str, Any]:
        """As the pipeline's call would give them to ``encode_prompt``."""
        own = {name: self._call[name].default for name in _TEXT_OPTIONS if name in self._call}
        return {name: self.sampling.call_options.get(name, value) for name, value in own.items()}

    def _texts(self, embeddings: PromptEmbeddings, device: torch.device) -> dict[str, Any]:
        """The embeddings as arguments of the call; no negative prompt, which PixArt and Sana refuse beside."""
        count = len(embeddings)
        own = {name: getattr(embeddings, field) for name, field in _ROWS.items()}
        shared = {name: _repeated(getattr(embeddings, field), count) for name, field in _SHARED.items()}
        texts = {name: value.to(device) for name, value in (own | shared).items() if value is not None}
        return {**texts, "negative_prompt": None} if "negative_prompt" in self._call else texts

    def _latents(self, noise: Tensor, device: torch.device) -> Tensor:
        """The noise as the call takes it."""
        latents = noise.to(device=device, dtype=torch.float32 if self.family.float32_noise else self.denoiser.dtype)
        return self.pipeline._pack_latents(latents, *latents.shape) if self.family.packed else latents

    @contextmanager
    def _drawing_from(self, generators: list[torch.Generator]) -> Iterator[None]:
        """The scheduler's own draws come from the images' generators also where the pipeline does not hand them on."""
        scheduler = self.pipeline.scheduler
        if self.family.passes_generator or "generator" not in inspect.signature(scheduler.step).parameters:
            yield
            return
        scheduler.step = partial(scheduler.step, generator=generators)
        try:
            yield
        finally:
            del scheduler.step

    @torch.no_grad()
    def _run(
        self, embeddings: PromptEmbeddings, noise: Tensor, generators: Sequence[torch.Generator], **more: Any
    ) -> ImageBatch:
        """One image a row; ``more`` is what only some pipelines take."""
        assert len(embeddings) == len(noise) == len(generators), "one embedding, one noise and one generator a row"
        assert tuple(noise.shape[1:]) == self.latent_shape, f"noise {tuple(noise.shape[1:])} for {self.latent_shape}"
        device = self.pipeline._execution_device
        if "use_resolution_binning" in self._call:
            more["use_resolution_binning"] = False
        with self._drawing_from(list(generators)):
            pixels = self.pipeline(
                **self._texts(embeddings, device),
                latents=self._latents(noise, device),
                generator=list(generators),
                num_inference_steps=self.sampling.steps,
                guidance_scale=self.sampling.guidance_scale,
                height=self.sampling.height,
                width=self.sampling.width,
                output_type="pt",
                return_dict=False,
                **self.sampling.call_options,
                **more,
            )[0]
        return _to_uint8(pixels)


def _fields(named: dict[str, Tensor | None], fields: dict[str, str]) -> dict[str, Any]:
    """Embeddings by field of :class:`PromptEmbeddings`; ``None`` where there is none."""
    return {field: named.get(name) for name, field in fields.items()}


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
        more: dict[str, Any] = {"eta": eta} if "eta" in self._call else {}
        if after_step is not None:
            more |= _callback(after_step, self._call)
        return self._run(embeddings, noise, generators, **more)

    def images(self, embeddings: PromptEmbeddings, noise: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """:meth:`sample` without the check for NaN: N × 3 × H × W uint8 0..255."""
        return self.sample(embeddings, noise, generators).images


def _callback(after_step: Callable[[int], None], call: Any) -> dict[str, Any]:
    """``after_step`` as diffusers calls it, of late or (PixArt) of old; it changes none of the pipeline's tensors."""
    if "callback_on_step_end" not in call:
        return {"callback": lambda step, timestep, latents: after_step(step)}

    def on_step_end(pipeline: object, step: int, timestep: object, tensors: object) -> dict[str, Any]:
        after_step(step)
        return {}

    return {"callback_on_step_end": on_step_end}


def _repeated(row: Tensor | None, count: int) -> Tensor | None:
    return None if row is None else row.expand(count, *row.shape[1:])


def _to_uint8(pixels: Tensor) -> ImageBatch:
    """N × 3 × H × W 0..1 to uint8, rounded as diffusers' ``numpy_to_pil`` rounds: half to even, in float32."""
    finite = pixels.isfinite().flatten(1).all(1)
    whole = (pixels.float() * 255).round()
    return ImageBatch(whole.where(finite[:, None, None, None], whole.new_zeros(())).to(torch.uint8), finite)


def load_text_to_image(config: StudyConfig, device: torch.device | str = "cpu") -> TextToImage:
    """The study's model, ready to sample on ``device``.

    Raises:
        UserError: the folder, file, hub id, size, dtype, scheduler or option of the configuration cannot be had.

    """
    facts = model_facts(config)
    pipeline = load_pipeline("AutoPipelineForText2Image", facts, config.model, device)
    leave = torch.device(device).type != "cpu"
    return TextToImage(pipeline, facts.sampling, facts.latent_shape, encoders_leave=leave)
