"""Reference statistics in files: feature vectors, or only their mean and covariance.

Read are seedml's own ``features`` (``.npz``, ``.safetensors``), the ``mu`` and ``sigma`` that pytorch-fid and clean-fid
write for FID (``.npz``), and the ``feats`` that clean-fid writes for KID. Nothing is unpickled. Does not know images.

These files tell neither the number of images behind them nor, with those two programs, the network and the way images
were resized. Other resizing alone moves FID by more than seeds do: take a file only from the network that
``measure.features`` names, used in the same way.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seedml.errors import UserError
from seedml.features import weights_of
from seedml.files import sha256_of

if TYPE_CHECKING:
    from seedml.features import FeatureNetwork

Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]

KINDS = (".npz", ".safetensors")
LEGAL = "`features` (or clean-fid's `feats`): images × dimensions; or `mu`: dimensions and `sigma`: dimensions squared"
_FEATURES = ("features", "feats")
_NOTES = ("network", "resize", "weights")
_ROUNDING = 16.0
"""A stored covariance is off by its own rounding and that of its sums: below this many √d·ε of its norm."""


class ReferenceMoments(NamedTuple):
    """Mean and covariance of reference images; enough for a Fréchet distance, too little for KID or CMMD.

    Attributes:
        mean: ``d`` float64.
        covariance: ``d × d`` float64, symmetric, positive semidefinite within rounding. Divisor n − 1 where seedml,
            pytorch-fid or clean-fid made it (``numpy.cov``); no file says so.
        n: images behind it; ``None`` where the file does not say, so that the distance's bias is unknown too.
        source: where they come from, in words.
        sha256: of the file; empty where there is none.

    """

    mean: Floats
    covariance: Floats
    n: int | None
    source: str
    sha256: str = ""

    def moments_of(self, prompt_ids: NDArray[np.int64]) -> ReferenceMoments:
        """These: they belong to no prompts."""
        return self

    def features_of(self, prompt_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """There are none.

        Raises:
            UserError: always, with the remedy.

        """
        raise UserError(
            f"the reference ({self.source}) holds only mean and covariance: KID and CMMD need its feature vectors",
            legal=LEGAL, remedy="set reference.path to features or a folder of images, or leave KID and CMMD out",
        )  # fmt: skip

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As ``reference.safetensors`` holds them."""
        return {"mu": self.mean, "sigma": self.covariance, "n": np.array([self.n or 0])}


class ReferenceFeatures(NamedTuple):
    """Feature vectors of reference images.

    Attributes:
        features: ``M × d`` float32.
        prompt_ids: ``M`` int64, the prompt an image belongs to; −1 where it belongs to none.
        source: where they come from, in words.
        sha256: of the file, or over all pictures; empty for rendered scenes.

    """

    features: NDArray[np.float32]
    prompt_ids: NDArray[np.int64]
    source: str
    sha256: str = ""

    @property
    def n(self) -> int:
        """Images."""
        return len(self.features)

    def features_of(self, prompt_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The vectors that belong to these prompts, ``M' × d``; all where they belong to none."""
        if (self.prompt_ids < 0).any():
            return self.features
        return self.features[np.isin(self.prompt_ids, prompt_ids)]

    def moments_of(self, prompt_ids: NDArray[np.int64]) -> ReferenceMoments:
        """Mean and covariance (divisor n − 1) of :meth:`features_of`, in float64.

        Raises:
            UserError: fewer than two vectors.

        """
        features = self.features_of(prompt_ids).astype(np.float64)
        if len(features) < 2:
            raise UserError(
                "the reference has too few images for a covariance", given=len(features), legal="two or more",
                remedy="raise reference.images_per_prompt, or give more images",
            )  # fmt: skip
        mean = features.mean(axis=0)
        centred = features - mean
        covariance = centred.T @ centred / (len(features) - 1)
        return ReferenceMoments(mean, covariance, len(features), self.source, self.sha256)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """As ``reference.safetensors`` holds them."""
        return {"features": self.features, "prompt_id": self.prompt_ids}


ReferenceStatistics = ReferenceFeatures | ReferenceMoments
"""What a study's images are compared with. Both give moments; only features give features."""


def reference_of_arrays(arrays: Arrays, source: str, sha256: str = "") -> ReferenceStatistics:
    """What ``arrays()`` of either kind gave, from a run's ``reference.safetensors``.

    Raises:
        UserError: it holds neither.

    """
    if "features" in arrays and "prompt_id" in arrays:
        return ReferenceFeatures(arrays["features"], arrays["prompt_id"], source, sha256)
    if "mu" in arrays and "sigma" in arrays:
        n = int(arrays["n"].item()) if "n" in arrays else 0
        return ReferenceMoments(np.asarray(arrays["mu"]), np.asarray(arrays["sigma"]), n or None, source, sha256)
    raise UserError(
        f"the run's reference ({source}) is not as seedml writes it", given=sorted(arrays),
        remedy="delete it and run `seedml measure` again",
    )  # fmt: skip


def read_reference_file(path: Path, network: FeatureNetwork) -> ReferenceStatistics:
    """Features or moments that belong to none of the study's prompts.

    A file that holds both is read as features: they say more. A file that names its network or resize rule must name
    those of ``network``; one that does not is taken at its user's word, and ``source`` says so.

    Raises:
        UserError: of no known kind; damaged; the arrays are missing; they are of another network, resize rule or
            dimension; numbers that no images have.

    """
    arrays = checked_arrays(path, network)
    words = f"in {path.name}" + ("" if "network" in arrays else ", whose network the file does not name")
    name = _first(_FEATURES, arrays)
    if name is not None:
        features = _finite(path, name, arrays[name]).astype(np.float32)
        return ReferenceFeatures(features, np.full(len(features), -1), f"features {words}", sha256_of(path))
    mean, sigma = (_finite(path, name, arrays[name]) for name in ("mu", "sigma"))
    n = int(arrays["n"].item()) if "n" in arrays else None
    covariance = covariance_matrix(sigma, _epsilon(arrays["sigma"]), path)
    source = f"mean and covariance {words}, n {n or 'unknown'}"
    return ReferenceMoments(mean, covariance, n, source, sha256_of(path))


def checked_arrays(path: Path, network: FeatureNetwork | None) -> dict[str, NDArray[Any]]:
    """The arrays of a reference file, their names and shapes looked at: quick, before the hours.

    Args:
        path: the file.
        network: whose features they must be; ``None`` looks at the format alone.

    Raises:
        UserError: as :func:`read_reference_file`.

    """
    arrays = _read_arrays(path)
    name = _first(_FEATURES, arrays)
    if name is None and not {"mu", "sigma"} <= arrays.keys():
        raise UserError(
            f"{path} holds no reference statistics", given=sorted(arrays), legal=LEGAL,
            remedy="write the arrays under these names",
        )  # fmt: skip
    if network is not None:
        _require_network(path, {key: str(arrays[key]) for key in _NOTES if key in arrays}, network)
    dimension = _dimension_of_moments(path, arrays) if name is None else _dimension_of_features(path, arrays[name])
    if network is not None and dimension != network.dimension:
        raise UserError(
            f"{path} is of another network: it has another number of dimensions", given=dimension,
            legal=f"{network.dimension} (measure.features={network.name})",
            remedy="embed the reference with the study's network, or set reference.path to the folder of its images",
        )  # fmt: skip
    return arrays


def _first(names: tuple[str, ...], arrays: Arrays) -> str | None:
    return next((name for name in names if name in arrays), None)


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a file by name; what its notes say is among them."""
    if path.suffix not in KINDS:
        raise UserError(
            "reference.path is of no known kind", given=str(path), legal=f"{', '.join(KINDS)} or a folder of images",
            remedy="save the arrays with numpy.savez; pickles (.pkl, .pt) are not opened, they can run any code",
        )  # fmt: skip
    from safetensors import SafetensorError

    try:
        return _of_numpy(path) if path.suffix == ".npz" else _of_safetensors(path)
    # what numpy, zipfile and safetensors raise for files that are torn, or something else under a borrowed name
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error, SafetensorError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} cannot be read as {path.suffix}", given=str(error), legal=LEGAL, remedy="write it again"
        ) from error


def _of_numpy(path: Path) -> dict[str, NDArray[Any]]:
    with path.open("rb") as stream:
        if not zipfile.is_zipfile(stream):
            raise UserError(f"{path} is no .npz archive", legal=LEGAL, remedy="write it with numpy.savez")
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _of_safetensors(path: Path) -> dict[str, NDArray[Any]]:
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as stream:
        arrays: dict[str, NDArray[Any]] = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        notes = stream.metadata() or {}
    return arrays | {key: np.array(notes[key]) for key in _NOTES if key in notes}


def _require_network(path: Path, told: Mapping[str, str], network: FeatureNetwork) -> None:
    """Refuse a file that says it is of another network, of other weights or another resize rule."""
    ours = {"network": network.name, "resize": network.resize}
    ours |= {"weights": weights_of(network)} if "weights" in told else {}
    other = [key for key in told if told[key] != ours[key]]
    if other:
        raise UserError(
            f"{path} is of another network or resize rule", given=dict(told), legal=str(ours),
            remedy="set reference.path to the folder of the reference's images or to a file of the study's network and "
            "resize rule, or measure.features to the file's network",
        )  # fmt: skip


def _dimension_of_features(path: Path, features: NDArray[Any]) -> int:
    if features.ndim != 2:
        raise UserError(f"{path} holds no table of features", given=features.shape, legal="images × dimensions")
    if len(features) < 2:
        raise UserError(
            f"{path} holds too few features", given=len(features), legal="two or more images",
            remedy="embed more reference images",
        )  # fmt: skip
    return int(features.shape[1])


def _dimension_of_moments(path: Path, arrays: Arrays) -> int:
    """Of ``mu`` ``d`` and ``sigma`` ``d × d`` that fit each other, and a number of images that can be one."""
    mu, sigma = arrays["mu"], arrays["sigma"]
    if mu.ndim != 1 or sigma.shape != (len(mu), len(mu)):
        raise UserError(f"{path}: `mu` and `sigma` do not fit", given=(mu.shape, sigma.shape), legal="(d,) and (d, d)")
    n = arrays.get("n", np.array(2))
    if n.size != 1 or n.dtype.kind not in "iu" or n.item() < 2:
        raise UserError(f"{path}: `n` is no number of images", given=n.tolist(), legal="two or more")
    return len(mu)


def _finite(path: Path, name: str, array: NDArray[Any]) -> Floats:
    if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
        raise UserError(
            f"{path}: `{name}` holds values that are not finite numbers", given=str(array.dtype), legal="finite, real",
            remedy="make the reference again: a picture was broken, or a covariance of fewer than two images taken",
        )  # fmt: skip
    return array.astype(np.float64)


def _epsilon(array: NDArray[Any]) -> float:
    """The relative rounding of a number as it was stored."""
    return float(np.finfo(array.dtype).eps) if array.dtype.kind == "f" else float(np.finfo(np.float64).eps)


def covariance_matrix(matrix: Floats, epsilon: float, path: Path) -> Floats:
    """A stored matrix ``d × d`` made exactly symmetric and, within the rounding it was stored with, without negative
    eigenvalues.

    A float32 covariance of few images has eigenvalues about −ε of the largest where they should be 0; in float64 these
    would stand for a matrix that is none of a Gaussian's.

    Args:
        matrix: as stored, in float64.
        epsilon: relative rounding of the stored type.
        path: for the message.

    Raises:
        UserError: asymmetric or negative beyond rounding.

    """
    rounding = _ROUNDING * len(matrix) ** 0.5 * epsilon
    skew = float(np.abs(matrix - matrix.T).max())
    if skew > rounding * float(np.abs(matrix).max()):
        raise UserError(
            f"{path}: `sigma` is not symmetric", given=skew, legal="a covariance matrix",
            remedy="make the reference again",
        )  # fmt: skip
    symmetric = (matrix + matrix.T) / 2
    values, vectors = np.linalg.eigh(symmetric)
    if values[0] < -rounding * abs(values).max():
        raise UserError(
            f"{path}: `sigma` has a negative variance in some direction", given=float(values[0]),
            legal="a covariance matrix: positive semidefinite", remedy="make the reference again",
        )  # fmt: skip
    if epsilon <= np.finfo(np.float64).eps or values[0] >= 0:
        return symmetric  # what is left is within the rounding of float64, which the distance knows
    clipped = (vectors * values.clip(min=0)) @ vectors.T
    return np.asarray((clipped + clipped.T) / 2)
