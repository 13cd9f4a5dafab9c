"""seedling: the small latent text-to-image model that ships with the package, its scenes and its parser."""

from __future__ import annotations

import json
from pathlib import Path

from seedml.captions import COLOURS, GROUNDS, OBJECTS
from seedml.models.folder import BUNDLED

_VOCABULARY = 2_000  # of seedling: 637 tokens; of other text encoders: tens of thousands


def seedling_folder() -> Path:
    """The bundled model: a folder that plain ``StableDiffusionPipeline.from_pretrained`` loads."""
    return Path(__file__).parent / "weights" / "seedling"


def draws_scenes(model_path: str) -> bool:
    """Whether a model's pictures are of seedling's world, so that the scene parser can read them.

    So are the bundled model's and those of any that was trained as it was (``seedml train``): its tokenizer knows the
    words of the captions and hardly any other.

    Args:
        model_path: the configuration's ``model.path``; of what is no folder on this machine only the name is known.

    """
    if model_path.startswith(BUNDLED):
        return True
    tokenizer = Path(model_path).expanduser() / "tokenizer" / "tokenizer.json"
    if not tokenizer.is_file():
        return False
    words = json.loads(tokenizer.read_text())["model"]["vocab"]
    return len(words) < _VOCABULARY and all(f"{word}</w>" in words for word in (*OBJECTS, *COLOURS, *GROUNDS))
