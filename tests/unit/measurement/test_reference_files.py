"""Reference statistics from files: what pytorch-fid and clean-fid write is read, anything else is refused by name."""

from __future__ import annotations

import pickle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from seedml.config import ReferenceConfig
from seedml.errors import UserError
from seedml.measurement.reference import check_reference
from seedml.measurement.reference_files import (
    ReferenceFeatures,
    ReferenceMoments,
    checked_arrays,
    covariance_matrix,
    read_reference_file,
    reference_of_arrays,
)

NETWORK: Any = SimpleNamespace(name="bundled", dimension=6, resize="bilinear to 128 x 128")
EPSILON = float(np.finfo(np.float64).eps)
PROMPTS = np.arange(3)


def _vectors(n: int = 40, d: int = 6) -> np.ndarray:
    generator = np.random.default_rng(0)
    return (3 + generator.normal(size=(n, d)) @ generator.normal(size=(d, d))).astype(np.float32)


def _statistics(n: int = 40, d: int = 6) -> dict[str, np.ndarray]:
    """``mu`` and ``sigma`` by the expressions of both programs."""
    vectors = _vectors(n, d)
    return {"mu": np.mean(vectors, axis=0), "sigma": np.cov(vectors, rowvar=False)}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_the_files_of_pytorch_fid_and_clean_fid_are_read_exactly(tmp_path: Path, save: Any) -> None:
    path, written = tmp_path / "stats.npz", _statistics()
    save(path, **written)
    found = read_reference_file(path, NETWORK)
    assert isinstance(found, ReferenceMoments)
    assert found.n is None
    assert found.mean.dtype == found.covariance.dtype == np.float64
    np.testing.assert_array_equal(found.mean, written["mu"])
    np.testing.assert_allclose(found.covariance, written["sigma"], rtol=1e-15)
    assert found.moments_of(PROMPTS) is found
    assert "n unknown" in found.source
    assert "does not name" in found.source


def test_the_features_that_clean_fid_writes_for_kid_are_features(tmp_path: Path) -> None:
    path = tmp_path / "stats_kid.npz"
    np.savez_compressed(path, feats=_vectors())
    found = read_reference_file(path, NETWORK)
    assert isinstance(found, ReferenceFeatures)
    np.testing.assert_array_equal(found.features_of(PROMPTS), _vectors())
    assert (found.prompt_ids == -1).all()


def test_moments_of_features_are_numpys_of_the_prompts_asked_for() -> None:
    vectors = _vectors()
    reference = ReferenceFeatures(vectors, np.repeat(np.arange(10), 4), "")
    kept = vectors[np.isin(reference.prompt_ids, [2, 7])]
    found = reference.moments_of(np.array([2, 7]))
    np.testing.assert_allclose(found.mean, kept.mean(0, dtype=np.float64), rtol=1e-14)
    np.testing.assert_allclose(found.covariance, np.cov(kept, rowvar=False), rtol=1e-12, atol=1e-14)
    assert found.n == 8
    with pytest.raises(UserError, match=r"too few images.*given: 0; legal: two or more; remedy: .*images_per_prompt"):
        reference.moments_of(np.array([99]))


def test_a_large_offset_does_not_drown_the_covariance() -> None:
    vectors = np.random.default_rng(1).integers(-8, 9, (50, 6)).astype(np.float32)
    near, far = (ReferenceFeatures(vectors + offset, np.full(50, -1), "").moments_of(PROMPTS) for offset in (0, 2**20))
    np.testing.assert_allclose(far.covariance, near.covariance, rtol=1e-9)


def test_a_file_that_says_more_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "stats.npz"
    np.savez(path, **_statistics(), n=40, network="bundled", resize=NETWORK.resize)
    found = read_reference_file(path, NETWORK)
    assert isinstance(found, ReferenceMoments)
    assert (found.n, found.source) == (40, "mean and covariance in stats.npz, n 40")
    np.savez(path, **_statistics(), features=_vectors())
    assert isinstance(read_reference_file(path, NETWORK), ReferenceFeatures)
    twin = tmp_path / "stats.safetensors"
    save_file(_statistics(), twin, metadata={"network": "bundled"})
    found = read_reference_file(twin, NETWORK)
    assert isinstance(found, ReferenceMoments)
    np.testing.assert_allclose(found.covariance, _statistics()["sigma"], rtol=1e-15)


@pytest.mark.parametrize("kind", ["npz", "safetensors"])
@pytest.mark.parametrize(("key", "value"), [("network", "inception"), ("resize", "bicubic to 299 x 299")])
@pytest.mark.parametrize("arrays", [{"features": _vectors()}, _statistics()])
def test_another_network_or_resize_rule_is_refused_with_the_remedy(
    tmp_path: Path, kind: str, key: str, value: str, arrays: dict[str, np.ndarray]
) -> None:
    path, notes = tmp_path / f"stats.{kind}", {"network": "bundled", "resize": NETWORK.resize} | {key: value}
    if kind == "npz":
        np.savez(path, **arrays, **notes)
    else:
        save_file(arrays, path, metadata=notes)
    with pytest.raises(UserError, match=f"another network or resize rule; given: .*{value}.*legal: .*bundled.*bilinear"
                       r".*remedy: set reference\.path to the folder"):  # fmt: skip
        read_reference_file(path, NETWORK)


@pytest.mark.parametrize("arrays", [{"features": _vectors(d=2048)}, {"mu": np.zeros(2048), "sigma": np.eye(2048)}])
def test_another_dimension_is_another_network(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    np.savez(tmp_path / "stats.npz", **arrays)
    with pytest.raises(UserError, match=r"of another network.*given: 2048; legal: 6 \(measure\.features=bundled\)"):
        read_reference_file(tmp_path / "stats.npz", NETWORK)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"arr_0": np.zeros((3, 6))}, r"holds no reference statistics; given: \['arr_0'\]; legal: `features`.*`mu`"),
        ({"mu": np.zeros(6)}, r"holds no reference statistics; given: \['mu'\]"),
        ({"mu": np.zeros(6), "sigma": np.eye(5)}, r"do not fit; given: \(\(6,\), \(5, 5\)\)"),
        ({"mu": np.zeros((6, 1)), "sigma": np.eye(6)}, "do not fit"),
        ({"mu": np.zeros(6), "sigma": np.eye(6), "n": 1}, "`n` is no number of images; given: 1; legal: two or more"),
        ({"mu": np.full(6, np.nan), "sigma": np.eye(6)}, "`mu` holds values that are not finite"),
        ({"mu": np.zeros(6), "sigma": np.diag([1, 1, 1, 1, 1, np.inf])}, "`sigma` holds values that are not finite"),
        ({"mu": np.zeros(6), "sigma": np.eye(6) * 1j}, "`sigma` holds values that are not finite, real|not finite"),
        ({"mu": np.zeros(6), "sigma": np.triu(np.ones((6, 6)))}, "`sigma` is not symmetric"),
        ({"mu": np.zeros(6), "sigma": np.diag([1, 1, 1, 1, 1, -1e-6])}, "negative variance.*given: -1e-06"),
        ({"features": np.zeros(6)}, "no table of features"),
        ({"features": np.zeros((1, 6))}, "too few features; given: 1; legal: two or more"),
        ({"features": np.array([[1.0] * 6, [np.nan] * 6])}, "`features` holds values that are not finite"),
    ],
)
def test_what_no_images_have_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "stats.npz", **arrays)
    with pytest.raises(UserError, match=message):
        read_reference_file(tmp_path / "stats.npz", NETWORK)


def test_unknown_formats_are_named_with_the_legal_ones(tmp_path: Path) -> None:
    for name in ("edm2.pkl", "stats.pt", "stats.npy", "stats"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(UserError, match=r"no known kind; given: .*; legal: \.npz, \.safetensors or a folder"):
            check_reference(ReferenceConfig(path=str(tmp_path / name)), [])


class _Bomb:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return pytest.fail, ("a pickle was opened",)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_pickles_and_torn_files_under_a_known_name_are_never_opened(tmp_path: Path, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".npz":
        np.savez(whole, **_statistics())
        objects = tmp_path / "objects.npz"
        np.savez(objects, mu=np.array([_Bomb()], dtype=object), sigma=np.eye(6))
        with pytest.raises(UserError, match=r"cannot be read as \.npz"):
            read_reference_file(objects, NETWORK)
    else:
        save_file(_statistics(), whole)
    content = whole.read_bytes()
    for k, damaged in enumerate((b"", pickle.dumps(_Bomb()), content[: len(content) // 2], b"\x93NUMPY" + content)):
        path = tmp_path / f"{k}{suffix}"
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"is no \.npz archive|cannot be read as"):
            read_reference_file(path, NETWORK)


def test_the_quick_look_finds_what_can_be_found_without_arithmetic(tmp_path: Path) -> None:
    path = tmp_path / "stats.npz"
    np.savez(path, **_statistics())
    assert checked_arrays(path, None).keys() == {"mu", "sigma"}
    config = ReferenceConfig(path=str(path))
    assert check_reference(config, [], NETWORK).keys() == {"path", "sha256"}
    with pytest.raises(UserError, match="of another network"):
        check_reference(config, [], SimpleNamespace(**vars(NETWORK) | {"dimension": 7}))  # type: ignore[arg-type]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rounding_of_few_images_is_no_negative_variance(dtype: type) -> None:
    """5 images in 40 dimensions: 36 eigenvalues are 0, and rounding puts half of them below."""
    exact = np.cov(_vectors(5, 40), rowvar=False)
    stored = exact.astype(dtype)
    found = covariance_matrix(stored.astype(np.float64), float(np.finfo(dtype).eps), Path("x"))
    largest = np.linalg.eigvalsh(exact)[-1]
    assert np.linalg.eigvalsh(found)[0] > -40 * EPSILON * largest
    assert (found == found.T).all()
    np.testing.assert_allclose(found, exact, atol=10 * np.finfo(dtype).eps * largest)


def test_kid_and_cmmd_need_features_and_say_so() -> None:
    moments = ReferenceMoments(np.zeros(6), np.eye(6), None, "mean and covariance in x.npz")
    with pytest.raises(UserError, match=r"x\.npz.*only mean and covariance: KID and CMMD need.*remedy: set reference"):
        moments.features_of(PROMPTS)


@pytest.mark.parametrize("n", [None, 40])
def test_a_run_gives_back_what_it_was_given(n: int | None) -> None:
    moments = ReferenceMoments(np.arange(6.0), np.eye(6), n, "somewhere")
    again = reference_of_arrays(moments.arrays(), "somewhere")
    assert isinstance(again, ReferenceMoments)
    assert again.n == n
    np.testing.assert_array_equal(again.covariance, moments.covariance)
    features = ReferenceFeatures(_vectors(), np.arange(40), "elsewhere")
    again = reference_of_arrays(features.arrays(), "elsewhere")
    assert isinstance(again, ReferenceFeatures)
    np.testing.assert_array_equal(again.prompt_ids, features.prompt_ids)
    with pytest.raises(UserError, match=r"given: \['features'\]; remedy: delete it"):
        reference_of_arrays({"features": _vectors()}, "x")
