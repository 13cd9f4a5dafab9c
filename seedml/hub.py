"""Networks that other people trained, from a folder here or from the Hugging Face hub. Knows not what they compute.

Only safetensors are read: a pickled checkpoint may run anything. What a name means is decided by looking: a folder that
exists is a folder, everything else is a hub id, ``owner/name`` or ``owner/name@revision``. Two of them, ``a + b``, are
a network and what its inputs are made with, where these are kept apart. Environment variables of the hub
(``HF_HUB_OFFLINE``, ``HF_HOME``, ``HF_TOKEN``) hold as everywhere.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from seedml.errors import UserError
from seedml.files import read_json, sha256_of
from seedml.models.quiet import quiet_libraries

_CONFIG = "config.json"
_WEIGHTS = "*.safetensors"
_INPUTS = ("*.json", "*.txt", "*.model")
_NEEDED = (*_INPUTS, _WEIGHTS)
_JOINED = " + "
_PROCESSORS = ("AutoImageProcessor", "AutoProcessor")
_LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""False, not left open: transformers would ask at the terminal whether to run a checkpoint's own code."""


class Loaded(NamedTuple):
    """A network ready to use."""

    model: Any
    """A transformers model on the CPU, float32, in evaluation mode."""
    processor: Any
    """What its inputs are made with, and its outputs read by."""
    version: str
    """Names the weights: the hub's commit, or a hash of configuration and weights in a folder."""


def named_parts(given: str) -> list[str]:
    """The networks that a value names: ``a + b`` are two."""
    return [part.strip() for part in given.split(_JOINED)]


def load_transformer(
    key: str, name_or_path: str, classes: Sequence[str], processor: str | None = _PROCESSORS[0]
) -> Loaded:
    """The network and its processor.

    Args:
        key: configuration key, for errors.
        name_or_path: folder, or hub id with or without ``@revision``; with `` + `` and another one where that one's
            processor is wanted.
        classes: transformers' classes that may load it, the first that knows the kind of network does.
        processor: ``AutoImageProcessor``, or ``AutoProcessor`` where it takes texts too; ``None`` = none is needed.

    Raises:
        UserError: no such folder, the hub cannot be reached, another kind of network, no safetensors, weights missing.

    """
    network, *others = named_parts(name_or_path)
    folder, version = find_network(key, network)
    try:
        with quiet_libraries():
            model, missing = _load_model(key, folder, classes)
        inputs = None
        if processor is not None and others:
            inputs, other_version = load_inputs(key, others[0], processor)
            version = f"{version}+{other_version}"
        elif processor is not None:
            inputs = _class(processor).from_pretrained(folder, **_LOCAL)
    except UserError:
        raise
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise _unusable(key, name_or_path, _first_line(error)) from error
    if missing:
        raise _unusable(key, name_or_path, f"weights are missing: {', '.join(missing[:3])}")
    return Loaded(model.eval().requires_grad_(False), inputs, version)


def load_inputs(key: str, name_or_path: str, kind: str = "AutoTokenizer") -> tuple[Any, str]:
    """What a network's inputs are made with, from a folder or hub id of its own; and what names it.

    Args:
        key: configuration key, for errors.
        name_or_path: folder, or hub id with or without ``@revision``; weights there are neither needed nor fetched.
        kind: ``AutoTokenizer``, ``AutoImageProcessor`` or ``AutoProcessor``.

    Raises:
        UserError: no such folder, the hub cannot be reached, or nothing of the kind is there.

    """
    folder = Path(name_or_path).expanduser()
    if not folder.is_dir():
        folder = _from_hub(key, name_or_path, _INPUTS)
    try:
        inputs = _class(kind).from_pretrained(folder, **_LOCAL)
    except (OSError, ValueError, ImportError, KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{key}: no {kind.removeprefix('Auto').lower()} can be loaded ({_first_line(error)})", given=name_or_path,
            legal="a folder with tokenizer.json or preprocessor_config.json as transformers saves them, or a hub id",
            remedy="name one after the weights, as in `weights + owner/name`",
        ) from error  # fmt: skip
    return inputs, _digest_of(sorted(folder.glob("*.json")))


def _load_model(key: str, folder: Path, classes: Sequence[str]) -> tuple[Any, list[str]]:
    """The model, and the names of weights that the checkpoint does not have."""
    config = _class("AutoConfig").from_pretrained(folder, **_LOCAL)
    able = [_class(name) for name in classes if _fits(_class(name), config)]
    if not able:
        raise UserError(
            f"{key}: another kind of network", given=f"{folder} ({config.model_type})",
            legal=f"what transformers' {' or '.join(classes)} loads",
        )  # fmt: skip
    model, report = able[0].from_pretrained(
        folder, use_safetensors=True, dtype="float32", output_loading_info=True, **_LOCAL
    )
    return model, sorted(report["missing_keys"])


def _fits(model: Any, config: Any) -> bool:
    """Whether a class loads networks of this configuration: one of several kinds (auto class), or of its own."""
    mapping = getattr(model, "_model_mapping", None)
    return type(config) is model.config_class if mapping is None else type(config) in mapping


def _class(name: str) -> Any:
    """One of transformers' classes; importing transformers takes seconds."""
    import transformers

    return getattr(transformers, name)


def find_network(key: str, name_or_path: str) -> tuple[Path, str]:
    """The folder with the network's files, fetched from the hub if it is not one here; and what names its weights.

    Raises:
        UserError: see :func:`load_transformer`.

    """
    folder = Path(name_or_path).expanduser()
    if folder.is_dir():
        return folder, _hash_of(key, folder)
    fetched = _from_hub(key, name_or_path, _NEEDED)
    return fetched, fetched.name


def _from_hub(key: str, name_or_path: str, patterns: Sequence[str]) -> Path:
    """The folder with a hub repository's files of these patterns."""
    name, _, revision = name_or_path.partition("@")
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        raise UserError(
            f"{key}: no such folder", given=name_or_path,
            legal="a folder with config.json and safetensors, or a hub id owner/name, also with @revision",
            remedy="correct the path, or download the network there",
        )  # fmt: skip
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=list(patterns)))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{key} is no folder here and cannot be had from the hub ({_first_line(error)})", given=name,
            remedy="check the name, the network and HF_HUB_OFFLINE (a gated network needs `hf auth login`), or give "
            "the folder of a downloaded copy",
        ) from error  # fmt: skip


def _hash_of(key: str, folder: Path) -> str:
    """Hash of configuration and weights; a moved folder keeps it."""
    weights = sorted(folder.glob(_WEIGHTS))
    if not (folder / _CONFIG).is_file() or not weights:
        raise UserError(
            f"{key}: no network in this folder", given=str(folder), legal=f"a folder with {_CONFIG} and {_WEIGHTS}",
            remedy="save it with save_pretrained, or download the safetensors files",
        )  # fmt: skip
    read_json(folder / _CONFIG)
    return _digest_of([*sorted(folder.glob("*.json")), *weights])


def _digest_of(paths: Sequence[Path]) -> str:
    digests = [sha256_of(path) for path in paths]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]


def _unusable(key: str, name_or_path: str, why: str) -> UserError:
    return UserError(
        f"{key}: the network cannot be loaded ({why})", given=name_or_path,
        legal="a whole transformers checkpoint with safetensors and the processor's configuration",
        remedy="download it again; of a repository that has only pickles take a revision with safetensors, or save it "
        "with save_pretrained where you trust it",
    )  # fmt: skip


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
