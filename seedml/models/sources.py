"""Where what ``model.*`` names is: a folder, a file, or on the Hugging Face hub. Reads JSON; loads no weights.

Only safetensors are taken: a pickled checkpoint may run anything when it is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from seedml.errors import UserError
from seedml.files import fingerprint, read_json, sha256_of

if TYPE_CHECKING:
    from seedml.config import ModelConfig

BUNDLED = "bundled:"
INDEX = "model_index.json"
CHECKER = "safety_checker"
SAFETENSORS = ".safetensors"
_PICKLES = (".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle")
_LORA_FILE = "pytorch_lora_weights.safetensors"
"""The name under which diffusers saves a LoRA."""
_CONFIGURATION = ("*.json", "*.txt", "*.model")


class HubName(NamedTuple):
    """``owner/name@revision/inside``."""

    repository: str
    revision: str | None
    inside: str
    """A file or folder in the repository; empty = all of it."""


def find_model(model: ModelConfig, *, download: bool = True) -> Path:
    """The folder that holds the model's ``model_index.json``; fetched from the hub where ``model.path`` is a hub id.

    Of a single file it is the folder that ``model.config`` names.

    Args:
        model: ``path``, ``config``, ``revision`` and ``variant`` are read.
        download: whether to use the network; else only what is on this machine already.

    Raises:
        UserError: no such folder or file, no pipeline in it, a pickle, or the hub cannot be reached.

    """
    if model.path.startswith(BUNDLED):
        return _bundled(model.path.removeprefix(BUNDLED))
    if find_single_file(model) is not None:
        return _configuration(model, download=download)
    folder = Path(model.path).expanduser()
    if folder.is_dir():
        return _pipeline_folder("model.path", folder)
    if _is_path(model.path) or model.path.count("/") != 1:
        raise UserError(
            "model.path: no such folder", given=model.path, legal="a pipeline folder, a hub id owner/name, a single "
            ".safetensors file or bundled:seedling", remedy="correct the path, or download the model there",
        )  # fmt: skip
    return _pipeline_from_hub(model, download=download)


def find_single_file(model: ModelConfig) -> Path | None:
    """The file that holds all of the model's weights; ``None`` where the model is a folder.

    Raises:
        UserError: a pickle, or there is no such file.

    """
    _refuse_pickle("model.path", model.path)
    if not model.path.endswith(SAFETENSORS):
        return None
    path = Path(model.path).expanduser()
    if not path.is_file():
        raise UserError("model.path: no such file", given=model.path, remedy="correct the path")
    return path.absolute()  # not where a link leads: files in the hub's cache lie there without their endings


def _configuration(model: ModelConfig, *, download: bool) -> Path:
    """The folder with the JSON files that belong to a single file."""
    if not model.config:
        raise UserError(
            "model.path is a single file, which says nothing of its pipeline", given=model.path,
            legal="model.config: the folder or hub id of a pipeline of the same architecture",
            remedy="name the model that it was trained from, such as model.config=stable-diffusion-v1-5/"
            "stable-diffusion-v1-5",
        )  # fmt: skip
    folder = _find("model.config", model.config, None, _CONFIGURATION, download=download)
    return _pipeline_folder("model.config", folder)


def find_vae(model: ModelConfig, *, download: bool = True) -> Path | None:
    """The folder of ``model.vae``; ``None`` where there is none.

    Raises:
        UserError: no such folder, no autoencoder in it, or the hub cannot be reached.

    """
    if model.vae is None:
        return None
    folder = _find("model.vae", model.vae, None, ("*.json", f"*{SAFETENSORS}"), download=download)
    if not (folder / "config.json").is_file() or not list(folder.glob(f"*{SAFETENSORS}")):
        raise UserError(
            "model.vae: no autoencoder in this folder", given=model.vae,
            legal="a folder with config.json and safetensors weights", remedy="name the folder that holds them",
        )  # fmt: skip
    return folder


def find_loras(model: ModelConfig, *, download: bool = True) -> dict[Path, float]:
    """File -> scale of every LoRA of the model, in their order.

    Raises:
        UserError: no such file, a pickle, or the hub cannot be reached.

    """
    return {_lora(name, download=download): scale for name, scale in model.lora.items()}


def _lora(name: str, *, download: bool) -> Path:
    _refuse_pickle("model.lora", name)
    found = _find("model.lora", name, _LORA_FILE, (), download=download)
    files = sorted(found.glob(f"*{SAFETENSORS}")) if found.is_dir() else [found]
    named = [file for file in files if file.name == _LORA_FILE] or files
    if len(named) != 1:
        raise UserError(
            "model.lora: which file is it?", given=name, legal=", ".join(file.name for file in files) or
            f"a folder with one {SAFETENSORS} file", remedy="name the file",
        )  # fmt: skip
    return named[0]


def local_model(model: ModelConfig) -> ModelConfig:
    """The same model with every hub id replaced by what is on this machine of it, so that the hub is not asked again.

    Raises:
        UserError: something of it is not on this machine.

    """
    folder, vae = find_model(model, download=False), find_vae(model, download=False)
    lora = {str(path): scale for path, scale in find_loras(model, download=False).items()}
    single = find_single_file(model)
    config = model.config if single is None else str(folder)
    return replace(model, path=str(single or folder), config=config, vae=None if vae is None else str(vae), lora=lora)


def model_identity(model: ModelConfig) -> dict[str, object]:
    """What makes these weights these weights: a content hash of a folder, or a hub id with its commit.

    A moved folder keeps its identity; retrained weights under the old path do not. Autoencoder and LoRA from elsewhere
    are part of it.
    """
    return {**_own_identity(model), "variant": model.variant, **_further_identity(model)}


def _own_identity(model: ModelConfig) -> dict[str, object]:
    folder, single = find_model(model), find_single_file(model)
    if single is not None:
        return {"sha256": fingerprint({"file": sha256_of(single), "config": content_hash(folder)})}
    if not model.path.startswith(BUNDLED) and not Path(model.path).expanduser().is_dir():
        return {"path": model.path, "revision": folder.name}
    return {"sha256": content_hash(folder)}


def _further_identity(model: ModelConfig) -> dict[str, object]:
    vae, found = find_vae(model), {}
    if vae is not None:
        files = [vae / "config.json", *sorted(vae.glob(f"*{SAFETENSORS}"))]
        found["vae"] = fingerprint({path.name: sha256_of(path) for path in files})
    lora = {sha256_of(path): scale for path, scale in find_loras(model).items()}
    return {**found, "lora": lora} if lora else dict(found)


def content_hash(folder: Path) -> str:
    """Hash of a pipeline folder's index and components; other files in it say nothing of the images."""
    components = [folder / name for name in components_of(folder)]
    files = [path for component in components if component.is_dir() for path in component.rglob("*") if path.is_file()]
    hashes = {str(path.relative_to(folder)): sha256_of(path) for path in [folder / INDEX, *files]}
    return fingerprint(hashes)


def components_of(folder: Path) -> Mapping[str, tuple[str | None, str | None]]:
    """Name -> library and class of what a pipeline is made of; ``None`` where it does without."""
    index = read_json(folder / INDEX)
    return {name: (value[0], value[1]) for name, value in index.items() if isinstance(value, list)}


def keeps_checker(model: ModelConfig, *, download: bool = True) -> bool:
    """Whether the model's images pass its own safety checker: it has one, and ``model.safety_checker`` keeps it.

    A single file has none: diffusers takes a checker from a folder only.

    Raises:
        UserError: see :func:`find_model`.

    """
    if not model.safety_checker or find_single_file(model) is not None:
        return False
    return components_of(find_model(model, download=download)).get(CHECKER, (None, None))[1] is not None


def hub_name(text: str) -> HubName:
    """``owner/name``, ``owner/name@revision``, each also with ``/a/file/inside``."""
    owner, name, *inside = text.split("/")
    name, _, revision = name.partition("@")
    return HubName(f"{owner}/{name}", revision or None, "/".join(inside))


def _bundled(name: str) -> Path:
    from seedml.models import bundled

    if name != "seedling":
        raise UserError("unknown bundled model", given=name, legal="seedling", remedy="model.path=bundled:seedling")
    return bundled.seedling_folder()


def _is_path(text: str) -> bool:
    """Whether a user who writes this means a place on this machine, whatever is there."""
    return text.startswith((".", "/", "~"))


def _refuse_pickle(key: str, path: str) -> None:
    if path.lower().endswith(_PICKLES):
        raise UserError(
            f"{key} is a pickle checkpoint, which may run anything when it is read", given=path,
            legal=f"{SAFETENSORS} files, or a folder of them",
            remedy="take the model's safetensors, or convert it on a machine where nothing can be harmed",
        )  # fmt: skip


def _pipeline_folder(key: str, folder: Path) -> Path:
    if not (folder / INDEX).is_file():
        raise UserError(f"{key} is no diffusers pipeline", given=str(folder), legal=f"a folder with {INDEX}")
    return folder.resolve()


def _find(key: str, name: str, file: str | None, patterns: tuple[str, ...], *, download: bool) -> Path:
    """A file or folder here, or on the hub: of a repository the ``file``, or all files of these patterns."""
    path = Path(name).expanduser()
    if path.exists():
        return path.resolve() if path.is_dir() else path.absolute()  # as in find_single_file
    if _is_path(name) or name.count("/") < 1:
        raise UserError(
            f"{key}: no such file or folder", given=name, legal="a path, or a hub id owner/name@revision/inside",
            remedy="correct the path, or download it there",
        )  # fmt: skip
    return _from_hub(key, hub_name(name), file, patterns, download=download)


def _from_hub(key: str, name: HubName, file: str | None, patterns: tuple[str, ...], *, download: bool) -> Path:
    from huggingface_hub import hf_hub_download, snapshot_download

    place: dict[str, Any] = {"revision": name.revision, "local_files_only": not download}
    try:
        if file is not None:
            return Path(hf_hub_download(name.repository, name.inside or file, **place))
        wanted = [f"{name.inside}/{pattern}" if name.inside else pattern for pattern in patterns]
        return Path(snapshot_download(name.repository, allow_patterns=wanted, **place)) / name.inside
    except (OSError, ValueError) as error:
        raise _not_from_hub(key, "/".join(part for part in (name.repository, name.inside) if part), error) from error


def _pipeline_from_hub(model: ModelConfig, *, download: bool) -> Path:
    from diffusers import DiffusionPipeline

    from seedml.models.quiet import quiet_libraries

    try:
        with quiet_libraries():
            folder = DiffusionPipeline.download(
                model.path, revision=model.revision, variant=model.variant, use_safetensors=True,
                local_files_only=not download,
            )  # fmt: skip
    except (OSError, ValueError) as error:
        raise _not_from_hub("model.path", model.path, error) from error
    return Path(folder)


def _not_from_hub(key: str, name: str, error: BaseException) -> UserError:
    first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    what = "a pipeline folder, or a hub id with safetensors weights" if key == "model.path" else "a path, or a hub id"
    return UserError(
        f"{key} is no folder here and cannot be had from the hub ({first_line})", given=name, legal=what,
        remedy="check the name, model.revision, model.variant and the network (a gated model needs `hf auth login`), "
        "or give the folder of a downloaded copy",
    )  # fmt: skip
