"""Golden vectors: what is in them, and that nothing in them can hurt."""

import io
import zipfile
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from faultwatch_edge import golden as golden_module
from faultwatch_edge.bundle import Bundle, Golden
from faultwatch_edge.detector import Detector, check_golden
from faultwatch_edge.errors import BundleError

NAMES = ("cells", "score", "anomalous", "contribution", "gate")


@pytest.fixture(scope="session")
def arrays(golden: Golden) -> dict[str, np.ndarray]:
    return {name: getattr(golden, name) for name in NAMES}


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=True, **arrays)
    return buffer.getvalue()


def npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=version)
    return buffer.getvalue()


def spoilt(arrays: dict[str, np.ndarray], **members: bytes) -> bytes:
    """Golden vectors with some members given as bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, array in arrays.items():
            file.writestr(f"{name}.npy", members.get(name, npy(array)))
    return buffer.getvalue()


def refused(data: bytes) -> str:
    with pytest.raises(BundleError) as caught:
        Golden.from_npz(data)
    assert str(caught.value).startswith("golden.npz ")
    return str(caught.value)


def test_what_numpy_writes_compressed_is_read(arrays: dict[str, np.ndarray]) -> None:
    read = Golden.from_npz(npz(**arrays))
    for name, array in arrays.items():
        np.testing.assert_array_equal(getattr(read, name), array)


def test_other_float_types_are_converted_when_written(golden: Golden) -> None:
    wide = replace(golden, score=golden.score.astype(np.float64))
    assert wide.to_npz() == golden.to_npz()


def test_pickles_are_refused(arrays: dict[str, np.ndarray]) -> None:
    objects = np.array([print, print], dtype=object)
    assert "member score has type object" in refused(npz(**{**arrays, "score": objects}))


def test_zip_bomb_is_refused_before_it_is_unpacked(arrays: dict[str, np.ndarray]) -> None:
    bomb = spoilt(arrays, cells=bytes(65 * 1024 * 1024))
    assert len(bomb) < 200_000
    assert "member cells.npy has 68157440 bytes, expected at most" in refused(bomb)


def test_many_members_that_are_a_bomb_together_are_refused(
    arrays: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golden_module, "LARGEST_UNPACKED", 2000)
    small = {name: array[:10] for name, array in arrays.items()}
    big = spoilt(small, cells=bytes(1500), score=bytes(1500))
    assert "unpacks to" in refused(big)


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (b"no array", "is not an array"),
        (npy(np.zeros(3, dtype=np.float64)), "has type float64, expected float32"),
        (npy(np.zeros((3, 2), dtype=np.float32, order="F")), "in row order"),
        (npy(np.zeros(3, dtype=np.float32), version=(2, 0)), "is not an array"),
        (
            npy(np.zeros(3, dtype=np.float32)) + b"more",
            "has 16 bytes, expected those of shape (3,)",
        ),
        (npy(np.zeros(3, dtype=np.float32)).replace(b"(3,)", b"(9**9,)"), "is not an array"),
        (npy(np.zeros(3, dtype=np.float32)).replace(b"(3,), }    ", b"(3000,), } "), "12 bytes"),
        (npy(np.zeros(3, dtype=np.float32)).replace(b"(3,), } ", b"(-3,), }"), "12 bytes"),
    ],
)
def test_member_that_is_no_such_array_is_refused(
    member: bytes, reason: str, arrays: dict[str, np.ndarray]
) -> None:
    assert reason in refused(spoilt(arrays, score=member))


def test_missing_array_is_refused(arrays: dict[str, np.ndarray]) -> None:
    assert "lacks members: 'gate.npy'" in refused(
        npz(**{name: array for name, array in arrays.items() if name != "gate"})
    )


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cells": lambda cells: cells[:, :2]}, "cells has shape (110, 2), expected (110, 3)"),
        ({"cells": lambda cells: cells[0, 0]}, "cells has shape (), expected (0, 3)"),
        ({"score": lambda score: score[:-1]}, "score has shape (53,), expected (54,)"),
        ({"contribution": lambda array: array.T}, "contribution has shape (3, 54)"),
        ({"cells": lambda cells: np.where(cells > 15, np.inf, cells)}, "an infinite value"),
        ({"score": lambda score: np.where(score > 8, np.nan, score)}, "score of a scored window"),
        (
            {"contribution": lambda array: array * np.float32(np.inf)},
            "contribution of a scored window is not finite",
        ),
        (
            dict.fromkeys(NAMES[1:], lambda array: array[:40])
            | {"cells": lambda cells: cells[: 4 + 39 * 2]},
            "holds 40 windows, expected at least 50",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered in multiply")
def test_arrays_that_do_not_fit_the_manifest_are_refused(
    changes: dict[str, Callable[[np.ndarray], np.ndarray]],
    reason: str,
    golden: Golden,
    bundle: Bundle,
) -> None:
    changed = {name: change(getattr(golden, name)) for name, change in changes.items()}
    with pytest.raises(BundleError) as caught:
        replace(golden, **changed).check_shapes(bundle.manifest)
    assert reason in str(caught.value)


def test_golden_vectors_hold_and_leave_the_detector_at_the_start(bundle: Bundle) -> None:
    detector = Detector.from_bundle(bundle)
    check_golden(detector, bundle)
    check_golden(detector, bundle)


def test_first_window_that_differs_is_named(bundle: Bundle) -> None:
    score = bundle.golden.score.copy()
    score[[7, 9]] += 0.1
    changed = replace(bundle, golden=replace(bundle.golden, score=score))
    with pytest.raises(BundleError, match=r"pump_07-3\.fwb: golden window 7 of 54 replayed one by"):
        check_golden(Detector.from_bundle(changed), changed)


def test_score_that_is_not_judged_may_differ(bundle: Bundle) -> None:
    score = bundle.golden.score.copy()
    score[0] = np.nan
    assert bundle.golden.gate[0] == 0
    changed = replace(bundle, golden=replace(bundle.golden, score=score))
    check_golden(Detector.from_bundle(changed), changed)


@pytest.mark.parametrize("field", ["anomalous", "gate"])
def test_decisions_and_gate_must_be_equal(bundle: Bundle, field: str) -> None:
    flipped = 1 - getattr(bundle.golden, field)[20:21].astype(int)
    array = getattr(bundle.golden, field).copy()
    array[20:21] = flipped
    changed = replace(bundle, golden=replace(bundle.golden, **{field: array}))
    with pytest.raises(BundleError, match="golden window 20 of 54"):
        check_golden(Detector.from_bundle(changed), changed)
