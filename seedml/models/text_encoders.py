"""The text encoders of a pipeline: on the accelerator while they read prompts, in main memory while images are made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from seedml.errors import UserError


class TextEncoders:
    """All that a pipeline reads prompts with, however many they are.

    Args:
        pipeline: of diffusers.
        leave: whether they go away between readings, so that an accelerator's memory is the denoiser's. The pipeline
            then has none of them meanwhile, as it allows where it is given embeddings.

    """

    def __init__(self, pipeline: Any, *, leave: bool) -> None:
        self._pipeline, self._leave = pipeline, leave
        names = [name for name in pipeline.components if name.startswith("text_encoder")]
        self._encoders = {name: getattr(pipeline, name) for name in names if getattr(pipeline, name) is not None}
        if leave:
            self._set_aside()

    @contextmanager
    def reading(self, device: torch.device) -> Iterator[None]:
        """The pipeline has its text encoders inside, on the device.

        Raises:
            UserError: they do not fit into the device's memory beside the denoiser.

        """
        if not self._leave:
            yield
            return
        try:
            for name, encoder in self._encoders.items():
                setattr(self._pipeline, name, encoder.to(device))
            yield
        except torch.OutOfMemoryError as error:
            raise UserError(
                f"the text encoders do not fit into the memory of {device} beside the denoiser",
                remedy="use a device with more memory, a smaller model, or sampler.dtype=bfloat16",
            ) from error
        finally:
            self._set_aside()

    def _set_aside(self) -> None:
        for name, encoder in self._encoders.items():
            encoder.to("cpu")
            setattr(self._pipeline, name, None)
