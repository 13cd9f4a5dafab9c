"""seedling: the small latent text-to-image model that ships with the package, its scenes and its parser."""

from __future__ import annotations

from pathlib import Path


def seedling_folder() -> Path:
    """The bundled model: a folder that plain ``StableDiffusionPipeline.from_pretrained`` loads."""
    return Path(__file__).parent / "weights" / "seedling"
