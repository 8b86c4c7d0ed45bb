"""Graphs that are traced once decide as the detector that fills them."""

import copy
from collections.abc import Callable

import numpy as np
import onnxruntime as ort
import pytest
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from models import graph as graph_module
from models.crossfit import FittedDetector
from models.detector import Detection, Detector, initial_state
from models.graph import ExportError, export_onnx

LENGTH = 16
Cells = NDArray[np.float32]


def broken(*_args: object, **_options: object) -> None:
    raise AssertionError


def changed(detector: Detector) -> Detector:
    """The same but for each weight, as learned elsewhere."""
    other, draw = copy.deepcopy(detector), torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in (*other.parameters(), *other.buffers()):
            if weight.is_floating_point():
                weight.mul_(1.0 + 0.05 * torch.rand(weight.shape, generator=draw))
    return other


def test_an_alike_detector_is_not_traced_again_and_decides_as_itself(
    fitted: FittedDetector,
    graph: bytes,
    plant: Callable[[int, int], Cells],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    detector = changed(fitted.detector)
    monkeypatch.setattr(torch.onnx, "export", broken)
    filled = export_onnx(detector, length=LENGTH)
    assert filled != graph
    cells = plant(1_000, 100)
    cells[50:60, 0] = np.nan
    window = np.ascontiguousarray(sliding_window_view(cells, LENGTH, axis=0))
    state = initial_state(detector)
    session = ort.InferenceSession(filled, providers=["CPUExecutionProvider"])
    found = session.run(None, {"window": window, "state": state.numpy()})
    with torch.no_grad():
        expected = detector(torch.from_numpy(window), state)
    for name, one, other in zip(Detection._fields, found, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), rtol=1e-3, atol=1e-3, err_msg=name)


def test_another_option_another_shape_and_another_length_are_traced_anew(
    fitted: FittedDetector, graph: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    del graph
    traced: list[str] = []

    def trace(*_args: object) -> bytes:
        traced.append("")
        raise InterruptedError

    option, shape = copy.deepcopy(fitted.detector), copy.deepcopy(fitted.detector)
    option.gate.startup_cells += 1
    shape.gate.above = torch.zeros(1)
    monkeypatch.setattr(graph_module, "_trace", trace)
    for detector, length in ((option, LENGTH), (shape, LENGTH), (fitted.detector, LENGTH + 1)):
        with pytest.raises(InterruptedError):
            export_onnx(detector, length=length)
    assert len(traced) == 3
    export_onnx(fitted.detector, length=LENGTH)


def test_a_trace_that_keeps_what_was_learned_is_refused(
    fitted: FittedDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_module, "_traced", {})
    weights = graph_module._weights  # noqa: SLF001 - as if one were forgotten

    def all_but_one(detector: Detector) -> dict[str, torch.Tensor]:
        return {name: one for name, one in weights(detector).items() if name != "normalizer.mean"}

    monkeypatch.setattr(graph_module, "_weights", all_but_one)
    with pytest.raises(ExportError, match=r"keeps normalizer\.mean of one detector for all"):
        export_onnx(fitted.detector, length=LENGTH)
