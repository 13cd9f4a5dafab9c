"""Single files of weights as their authors published them: found or fetched, hashed, read without running any code.

Whole transformers checkpoints are ``hub.py``'s. Knows not what the weights compute.
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seedml.errors import UserError
from seedml.files import sha256_of

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin", ".ckpt")
"""Of files of weights."""
_INNER = ("state_dict", "model_state_dict")
"""Where checkpoints of training programs keep the weights."""
_PARALLEL = "module."
_COUNTERS = "num_batches_tracked"
"""Of batch norm: no weights, and in old files not there."""
_OFFLINE = ("1", "ON", "YES", "TRUE")


class Download(NamedTuple):
    """A published file that the configuration may ask for by name."""

    url: str
    sha256: str
    """Its first digits."""

    @property
    def file(self) -> str:
        """Its name."""
        return self.url.rpartition("/")[2]


class Weights(NamedTuple):
    """What a file holds."""

    tensors: dict[str, Tensor]
    """By name, of whatever float they are stored in, on the CPU."""
    sha256: str
    """Of the file."""
    given: str
    """As the configuration names it."""

    def starting_with(self, prefix: str) -> Weights:
        """Those of one part, without the prefix."""
        kept = {n.removeprefix(prefix): tensor for n, tensor in self.tensors.items() if n.startswith(prefix)}
        return self._replace(tensors=kept)


def is_file_name(given: str) -> bool:
    """Whether a name means a file of weights: by its ending, a revision left out."""
    return given.partition("@")[0].endswith(SUFFIXES)


def find_file(key: str, given: str, downloads: Mapping[str, Download] = MappingProxyType({})) -> Path:
    """The file of weights that the configuration names, fetched where it is not here.

    Args:
        key: configuration key, for errors.
        given: a path; a name of ``downloads``; or a file of the hub, ``owner/name/file``, also with ``@revision``.
        downloads: what may be asked for by name; kept where torch.hub keeps its files.

    Raises:
        UserError: no such file, or it cannot be fetched: no network, or ``HF_HUB_OFFLINE`` forbids it.

    """
    if given in downloads:
        return _downloaded(key, given, downloads[given])
    path = Path(given).expanduser()
    if path.is_file():
        return path
    name, _, revision = given.partition("@")
    if is_file_name(given) and not name.startswith((".", "/", "~")) and name.count("/") >= 2:
        return _from_hub(key, name, revision or None)
    names = "".join(f"{name} (downloads {one.url}), " for name, one in downloads.items())
    raise UserError(
        f"{key}: no such file", given=given, legal=f"{names}a path, or a file of the hub as owner/name/file",
        remedy="correct the path, or download the file there",
    )  # fmt: skip


def is_offline() -> bool:
    """Whether ``HF_HUB_OFFLINE`` forbids downloads."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in _OFFLINE


def _downloaded(key: str, given: str, download: Download) -> Path:
    path = Path(torch.hub.get_dir()) / "checkpoints" / download.file
    if path.is_file():
        return _as_published(key, path, download)
    remedy = f"download {download.url} elsewhere and give its path"
    if is_offline():
        raise UserError(f"{key}: HF_HUB_OFFLINE forbids the download, and it is not in {path.parent}", given=given,
                        remedy=f"unset HF_HUB_OFFLINE, or {remedy}")  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(download.url, str(path), hash_prefix=download.sha256, progress=False)
    except (OSError, RuntimeError) as error:  # RuntimeError: the hash differs; the file is not kept then
        raise UserError(f"{key}: {download.url} cannot be had ({_first_line(error)})", given=given,
                        remedy=remedy) from error  # fmt: skip
    return path


def _as_published(key: str, path: Path, download: Download) -> Path:
    """A file that is there already: other programs write to torch.hub's folder too, and not all compare hashes."""
    digest = sha256_of(path)
    if not digest.startswith(download.sha256):
        raise UserError(
            f"{key}: the file in torch.hub's folder is not the published one", given=f"{path}, sha256 {digest[:16]}…",
            legal=f"sha256 {download.sha256}…", remedy=f"delete it to have {download.url} downloaded again",
        )  # fmt: skip
    return path


def _from_hub(key: str, name: str, revision: str | None) -> Path:
    from huggingface_hub import hf_hub_download

    owner, repository, file = name.split("/", 2)
    try:
        return Path(hf_hub_download(f"{owner}/{repository}", file, revision=revision))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{key} is no file here and cannot be had from the hub ({_first_line(error)})", given=name,
            remedy="check the name, the network and HF_HUB_OFFLINE, or give the path of a downloaded copy",
        ) from error  # fmt: skip


def read_weights(key: str, path: Path, given: str) -> Weights:
    """The tensors of a file, by name.

    Args:
        key: configuration key, for errors.
        path: safetensors, or what ``torch.save`` made of tensors alone.
        given: as the configuration names it.

    Raises:
        UserError: it is damaged, a TorchScript program, or a pickle of more than tensors: these are not opened.

    """
    digest = sha256_of(path)
    content = _safetensors(key, path) if path.suffix == ".safetensors" else _torch_file(key, path)
    inner = next((content[name] for name in _INNER if isinstance(content.get(name), dict)), content)
    tensors = {
        str(name).removeprefix(_PARALLEL): tensor for name, tensor in inner.items() if isinstance(tensor, Tensor)
    }
    if not tensors:
        raise UserError(f"{key}: the file holds no weights", given=str(path), remedy=_REMEDY)
    return Weights(tensors, digest, given)


_REMEDY = "take the file as its authors published it, or convert it to safetensors where you trust it"


def _safetensors(key: str, path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        content: dict[str, Any] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{key}: {path} is no whole safetensors file ({_first_line(error)})",
                        remedy="download it again") from error  # fmt: skip
    return content


def _torch_file(key: str, path: Path) -> dict[str, Any]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of what is refused below in a line of our own
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{key}: {path} is a pickle of more than weights; it is not opened, as it could run any code",
            legal="safetensors, or tensors alone as torch.save writes them", remedy=_REMEDY,
        ) from error  # fmt: skip
    except (OSError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise UserError(f"{key}: {path} cannot be read as weights ({_first_line(error)})",
                        legal="safetensors, or tensors alone as torch.save writes them (TorchScript programs are none)",
                        remedy=_REMEDY) from error  # fmt: skip
    if not isinstance(content, dict):
        raise UserError(f"{key}: {path} holds no weights by name", given=type(content).__name__, remedy=_REMEDY)
    return content


def fill(key: str, network: nn.Module, weights: Weights, what: str, remedy: str) -> None:
    """Give a network its weights, all of them and no others, as float32; in evaluation mode, without gradients.

    Args:
        key: configuration key, for errors.
        network: may be on the device ``meta``.
        weights: for it.
        what: it is, in words.
        remedy: where the right weights are.

    Raises:
        UserError: weights are missing, too many or of other shapes.

    """
    wanted = {name: tensor for name, tensor in network.state_dict().items() if not name.endswith(_COUNTERS)}
    tensors = {name: tensor.float() for name, tensor in weights.tensors.items() if not name.endswith(_COUNTERS)}
    wrong = [f"{name} is missing" for name in wanted if name not in tensors]
    wrong += [f"{name} is too many" for name in tensors if name not in wanted]
    wrong += [
        f"{name} is {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in tensors and tensors[name].shape != tensor.shape
    ]
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise UserError(f"{key}: these are not the weights of {what}: {', '.join(wrong[:3])}{more}",
                        given=weights.given, remedy=remedy)  # fmt: skip
    network.load_state_dict(tensors, strict=False, assign=True)
    for module in network.modules():
        for name, buffer in module.named_buffers(recurse=False):
            if buffer.is_meta:
                _remake(module, name, buffer)
    network.eval().requires_grad_(False)


def _remake(module: nn.Module, name: str, buffer: Tensor) -> None:
    """Buffers that no file holds: batch norm's counters, which evaluation does not read, and positions 0, 1, 2 …"""
    assert name in (_COUNTERS, "position_ids"), f"{name} has to come from somewhere"
    counted = torch.arange(buffer.shape[-1]).expand(1, -1) if buffer.ndim else torch.zeros((), dtype=buffer.dtype)
    module.register_buffer(name, counted, persistent=False)


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__
