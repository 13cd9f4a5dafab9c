"""(picture, mask, prompt, noise) -> picture with the mask filled, through diffusers' inpainting pipelines.

A U-Net of 9 channels sees mask and masked picture (an inpainting checkpoint). One of 4 channels knows of neither: after
each step what is outside of the mask is replaced by the picture with as much noise as that step leaves (any
text-to-image checkpoint). Both start from the noise that the seed has in text-to-image, given as ``latents``: a picture
made here equals, up to the rounding of another batch size, what plain diffusers makes at batch size 1 of

    g = torch.Generator("cpu").manual_seed(seed)
    latents = torch.randn((1, 4, height // 8, width // 8), generator=g)
    pipeline(prompt, image=picture, mask_image=mask, strength=1.0, latents=latents, generator=g)

Without ``latents=`` a 4-channel pipeline draws for the picture's encoding first, and the seed's noise is another one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from seedml.models.folder import INPAINTING, model_facts
from seedml.models.loading import load_pipeline
from seedml.models.text_to_image import ImageBatch, Pipeline, PromptEmbeddings

if TYPE_CHECKING:
    from seedml.config import StudyConfig

_PLAIN = 4
"""Channels of a U-Net that knows of no mask."""


@dataclass(frozen=True)
class Hole:
    """A picture with a mask to be filled, encoded: once a picture, not once a seed.

    Attributes:
        whole: distribution of the picture's latent.
        masked: the same of the picture with its mask in mid-gray.
        mask: ``1 × H × W`` float32 of 0 and 1, in pixels.

    """

    whole: Any
    masked: Any
    mask: Tensor


class Inpainter(Pipeline):
    """A pipeline that fills masks."""

    @property
    def knows_masks(self) -> bool:
        """Whether the U-Net is given mask and masked picture."""
        return int(self.pipeline.unet.config.in_channels) != _PLAIN

    @property
    def cell(self) -> int:
        """Pixels of a latent position along a side: masks are made of such squares."""
        return int(self.pipeline.vae_scale_factor)

    @torch.no_grad()
    def hole(self, picture: Tensor, mask: Tensor) -> Hole:
        """Encode a picture to be filled.

        Args:
            picture: ``3 × H × W`` uint8 of the model's size.
            mask: ``H × W`` bool, true where it is to be filled; whole cells (:func:`whole_cells`).

        """
        size = (self.sampling.height, self.sampling.width)
        assert tuple(picture.shape[1:]) == tuple(mask.shape) == size, f"picture and mask of {size} pixels"
        pixels = picture[None].to(torch.float32) / 127.5 - 1
        hidden = mask[None, None].to(pixels)
        return Hole(self._distribution(pixels), self._distribution(pixels * (hidden < 0.5)), hidden[0])

    def _distribution(self, pixels: Tensor) -> Any:
        """Distribution of the latent; in float32 where SDXL's pipeline would do that too."""
        vae = self.pipeline.vae
        own = vae.dtype
        upcast = "XL" in type(self.pipeline).__name__ and vae.config.force_upcast and own != torch.float32
        if upcast:
            vae.to(torch.float32)
        found = vae.encode(pixels.to(self.pipeline._execution_device, vae.dtype)).latent_dist
        if upcast:
            vae.to(own)
        return found

    def fill(
        self, embeddings: PromptEmbeddings, holes: Sequence[Hole], noise: Tensor, generators: Sequence[torch.Generator]
    ) -> ImageBatch:
        """One picture a row. What is outside of the mask is as the autoencoder gives it back, or a little off.

        Args:
            embeddings: N rows.
            holes: N.
            noise: the initial noise, ``N × C × H × W`` float32, not yet scaled by the scheduler.
            generators: N, each for the later draws of its own row.

        """
        assert len(holes) == len(generators), "one picture and one generator a row"
        # In the order in which the pipelines draw: a generator's later draws then are those of plain diffusers.
        whole = None if self.knows_masks else self._drawn([hole.whole for hole in holes], generators)
        masked = self._drawn([hole.masked for hole in holes], generators)
        return self._run(
            embeddings, noise, generators, strength=1.0,
            image=masked if whole is None else whole,  # latents of pictures are taken as they are
            masked_image_latents=masked,
            mask_image=torch.stack([hole.mask for hole in holes]),
        )  # fmt: skip

    def _drawn(self, latents: Sequence[Any], generators: Sequence[torch.Generator]) -> Tensor:
        dtype = self.pipeline.unet.dtype
        drawn = [one.sample(generator).to(dtype) for one, generator in zip(latents, generators, strict=True)]
        return torch.cat(drawn) * float(self.pipeline.vae.config.scaling_factor)


def whole_cells(mask: Tensor, cell: int) -> Tensor:
    """The mask enlarged to whole squares of ``cell`` pixels: ``H × W`` bool -> the same.

    The pipelines reduce a mask to one pixel of each square: with whole squares no choice is left to them.
    """
    reduced = torch.nn.functional.max_pool2d(mask[None].float(), cell)
    return reduced.repeat_interleave(cell, 1).repeat_interleave(cell, 2)[0] > 0.5


def load_inpainter(config: StudyConfig, device: torch.device | str = "cpu") -> Inpainter:
    """The model of a configuration for filling masks: an inpainting checkpoint, or a text-to-image one as it is.

    Raises:
        UserError: as :func:`~seedml.models.text_to_image.load_text_to_image`.

    """
    facts = model_facts(config, pipelines=INPAINTING)
    pipeline = load_pipeline("AutoPipelineForInpainting", facts, config.model, device)
    leave = torch.device(device).type != "cpu"
    return Inpainter(pipeline, facts.sampling, facts.latent_shape, encoders_leave=leave)
