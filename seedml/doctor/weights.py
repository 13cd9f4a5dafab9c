"""Weights: of the study's model, of the one that fills masks, and of the networks that measure.

Looks at files only. A safetensors file in the hub's cache is named after its hash, which is computed and compared; of
other files the hash is printed. Knows not whether a download would succeed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from seedml.doctor.findings import MISSING, OK, Finding, of_error
from seedml.errors import UserError
from seedml.files import sha256_of
from seedml.generation.disk import human_bytes
from seedml.hub import named_parts
from seedml.models.folder import BUNDLED, find_model, model_facts
from seedml.models.sources import components_of, find_loras, find_single_file, find_vae

if TYPE_CHECKING:
    from seedml.config import ModelConfig, StudyConfig

_IN_A_WHEEL = "rapidocr"
"""A network that comes with its package: an extra."""
_OF_NETWORKS = tuple(f"measure.networks.{name}" for name in ("location", "size", "depth"))
"""After their `` + `` stand further networks; after that of others stands what inputs are made with."""
_INPUTS = (
    "tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "tokenizer_config.json", "processor_config.json",
    "preprocessor_config.json",
)  # fmt: skip
"""Files of a folder that transformers makes tokenizers and processors from."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


class WeightFile(NamedTuple):
    """A file of weights on this machine."""

    name: str
    """Below the model's folder."""
    path: Path
    bytes: int


def weight_files(model: ModelConfig) -> list[WeightFile]:
    """The files of weights of a model that are here, in the variant that it names.

    Raises:
        UserError: the model is not on this machine.

    """
    folder, single = find_model(model, download=False), find_single_file(model)
    found = _of_components(folder, model.variant) if single is None else [(single.name, single)]
    vae = find_vae(model, download=False)
    more = [(f"vae/{path.name}", path) for path in sorted(vae.glob("*.safetensors"))] if vae else []
    more += [(f"lora/{path.name}", path) for path in find_loras(model, download=False)]
    return [WeightFile(name, path, path.stat().st_size) for name, path in [*found, *more]]


def _of_components(folder: Path, variant: str | None) -> list[tuple[str, Path]]:
    """Name below the folder and place of each component's safetensors; those of the variant where it has such."""
    found = []
    for component in components_of(folder):
        files = sorted((folder / component).glob("*.safetensors"))
        of_variant = [path for path in files if variant and f".{variant}" in path.name]
        found += [(f"{component}/{path.name}", path) for path in of_variant or _plain(files)]
    return found


def _plain(files: list[Path]) -> list[Path]:
    """Those of no variant, where there are any: fp16 lies beside float32 in many folders."""
    plain = [path for path in files if not re.search(r"\.(fp16|bf16|non_ema|ema_only)[.-]", path.name)]
    return plain or files


def look_at_models(config: StudyConfig) -> Iterator[Finding]:
    """The study's model, and the one that fills masks where that is asked for."""
    yield from _model(config, "model", config.model)
    if "inpainting" in config.apply.run and config.apply.inpaint_model is not None:
        from seedml.applications.inpainting import inpainting_config

        yield from _model(None, "inpaint model", inpainting_config(config).model)


def _model(config: StudyConfig | None, subject: str, model: ModelConfig) -> Iterator[Finding]:
    try:
        files = weight_files(model)
        facts = None if config is None else model_facts(config, download=False)
    except UserError as error:
        yield _absent(subject, model, error)
        return
    folder = find_model(model, download=False)
    if facts is not None:
        at = f"{facts.sampling.width} × {facts.sampling.height} px, {facts.sampling.steps} steps"
        yield Finding(subject, OK, f"{model.name}: {facts.pipeline}, {at}, in {folder}")
    yield from _complete(subject, model, folder, files)
    for file in files:
        yield _hashed(subject, model, file)


def _absent(subject: str, model: ModelConfig, error: UserError) -> Finding:
    """Not on this machine, or no good."""
    if not _is_hub_id(model.path) or not str(error).startswith("model.path is no folder here"):
        return of_error(subject, error)
    command = f"hf download {model.path}" + (f" --revision {model.revision}" if model.revision else "")
    command += " --include '*.json' '*.txt' '*.model' " + (
        f"'*.{model.variant}*.safetensors'" if model.variant else "'*.safetensors'"
    )
    gated = "; a gated model needs `hf auth login` first"
    return Finding(subject, MISSING, f"{model.path} is not on this machine", command + gated)


def _is_hub_id(path: str) -> bool:
    return not path.startswith((BUNDLED, ".", "/", "~")) and path.count("/") == 1 and not Path(path).is_dir()


def _complete(subject: str, model: ModelConfig, folder: Path, files: list[WeightFile]) -> Iterator[Finding]:
    """Components that are networks and have no weights: a download that was broken off, or another variant."""
    if find_single_file(model) is not None:
        return
    without = [
        name
        for name, (library, kind) in components_of(folder).items()
        if library is not None
        and _has_weights(str(kind))
        and not any(file.name.startswith(f"{name}/") for file in files)
    ]
    elsewhere = {"vae" if model.vae else "", "" if model.safety_checker else "safety_checker"}
    needed = [name for name in without if name not in elsewhere]
    if needed:
        yield Finding(
            f"{subject} weights", MISSING, f"no safetensors of {', '.join(needed)} in {folder}",
            f"hf download {model.path} --include '*.safetensors'" if _is_hub_id(model.path) else "save the model again "
            "with save_pretrained, which writes safetensors",
        )  # fmt: skip


def _has_weights(kind: str) -> bool:
    """Whether a class has weights: schedulers, tokenizers and processors have none."""
    return not kind.endswith(("Scheduler", "Processor", "Extractor")) and "Tokenizer" not in kind


def _hashed(subject: str, model: ModelConfig, file: WeightFile) -> Finding:
    digest = sha256_of(file.path)
    expected = file.path.resolve().name
    if _SHA256.fullmatch(expected) and expected != digest:  # the hub's cache names a file after its hash
        return Finding(
            f"{subject} weights", MISSING, f"{file.name} is damaged: sha256 {digest[:16]}…, and the hub's is "
            f"{expected[:16]}…", f"hf download {model.path} --force-download --include '{file.name}'",
        )  # fmt: skip
    return Finding(f"{subject} weights", OK, f"{file.name}, {human_bytes(file.bytes)}, sha256 {digest[:16]}…")


def look_at_networks(config: StudyConfig) -> Iterator[Finding]:
    """The networks of others that images are measured with."""
    given: Mapping[str, str] = {
        **{f"measure.networks.{name}": value for name, value in config.measure.networks.items()},
        **{f"apply.distances.{name}": value for name, value in config.apply.distances.items()},
    }
    for key, named in given.items():
        for number, name in enumerate(named_parts(named)):
            inputs = number > 0 and key not in _OF_NETWORKS
            if name != _IN_A_WHEEL:
                yield (_inputs(key, name) if inputs else None) or _network(key, name)


def _inputs(key: str, given: str) -> Finding | None:
    """A folder that a network's inputs are made with, which needs no weights; ``None`` where it is no folder here."""
    path = Path(given).expanduser()
    if not path.is_dir():
        return None
    files = [name for name in _INPUTS if (path / name).is_file()]
    if files:
        return Finding(key, OK, f"{path}: {', '.join(files)}")
    return Finding(key, MISSING, f"{path} holds no tokenizer and no processor",
                   "save them there with save_pretrained")  # fmt: skip


def _network(key: str, given: str) -> Finding:
    """A file, a folder, or a name of the hub that is looked up in its cache alone."""
    path = Path(given).expanduser()
    if path.is_file():
        return Finding(key, OK, f"{path}, {human_bytes(path.stat().st_size)}, sha256 {sha256_of(path)[:16]}…")
    if path.is_dir():
        files = sorted(path.glob("*.safetensors"))
        if not files or not (path / "config.json").is_file():
            return Finding(key, MISSING, f"{path} holds no config.json with safetensors",
                           "save the network there with save_pretrained")  # fmt: skip
        hashes = ", ".join(f"{file.name} sha256 {sha256_of(file)[:16]}…" for file in files)
        return Finding(key, OK, f"{path}: {hashes}")
    if given.startswith((".", "/", "~")):
        return Finding(key, MISSING, f"there is no {given}", "correct the path, or download the network there")
    return _downloaded(key, given) if "/" not in given else _from_cache(key, given)


def _from_cache(key: str, given: str) -> Finding:
    """A hub id, or a file of one, as far as it is in the hub's cache."""
    from huggingface_hub import try_to_load_from_cache

    name, _, revision = given.partition("@")
    owner, repository, *inside = name.split("/", 2)
    file = inside[0] if inside else "config.json"
    found = try_to_load_from_cache(f"{owner}/{repository}", file, revision=revision or None)
    if isinstance(found, str):
        return Finding(key, OK, f"{given} in {Path(found).parent}")
    command = f"hf download {owner}/{repository}" + (f" {file}" if inside else " --include '*.json' '*.safetensors'")
    return _to_be_fetched(key, given, command + (f" --revision {revision}" if revision else ""))


def _downloaded(key: str, given: str) -> Finding:
    """A published file that is asked for by name."""
    import torch

    from seedml.networks import inception, lpips

    known = {**inception.DOWNLOADS, **lpips.DOWNLOADS}
    if given not in known:
        return Finding(key, MISSING, f"there is no {given}", "name a file, a folder or a hub id")
    path = Path(torch.hub.get_dir()) / "checkpoints" / known[given].file
    if not path.is_file():
        return _to_be_fetched(key, given, f"curl -L --create-dirs -o {path} {known[given].url}")
    digest = sha256_of(path)
    if not digest.startswith(known[given].sha256):
        return Finding(key, MISSING, f"{path} is damaged: sha256 {digest[:16]}…", f"rm {path}, and run this again")
    return Finding(key, OK, f"{given}: {path}, sha256 {digest[:16]}…")


def _to_be_fetched(key: str, given: str, command: str) -> Finding:
    """The study would ask for it over the network, in the middle of its hours."""
    return Finding(key, MISSING, f"{given} is not on this machine", command)
