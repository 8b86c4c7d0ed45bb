"""What must not leave does not leave."""

import copy
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn
from typing_extensions import override

from faultwatch_edge.bundle import read_bundle
from faultwatch_edge.detector import Detector as EdgeDetector
from faultwatch_edge.detector import check_golden
from faultwatch_edge.manifest import Manifest
from features.windows import Windows
from models import export
from models import graph as graph_module
from models.crossfit import FittedDetector
from models.detector import Detection, score_run
from models.export import export_bundle, make_golden, prove_parity
from models.graph import ExportError, export_onnx

pytestmark = pytest.mark.parametrize("recipe", ["window_pca"], indirect=True)

Cells = NDArray[np.float32]
LENGTH = 16


@pytest.fixture(scope="session")
def sequences(plant: Callable[[int, int], Cells]) -> list[Cells]:
    """Two runs that nothing was fitted on, a fault in the second."""
    runs = [plant(1_000, 700), plant(1_001, 500)]
    runs[1][300:, 2] += np.float32(0.1)
    return runs


@pytest.fixture
def model(graph: bytes) -> onnx.ModelProto:
    return onnx.load_from_string(graph)


def scaled(graph: bytes, name: str, factor: float) -> bytes:
    """The graph with all initialisers of that name multiplied."""
    model = onnx.load_from_string(graph)
    found = [tensor for tensor in model.graph.initializer if tensor.name == name]
    for tensor in found:
        values = (numpy_helper.to_array(tensor) * factor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, name))
    assert found
    return bytes(model.SerializeToString())


class Restless(nn.Module):
    """A reconstructor that draws."""

    @override
    def forward(self, values: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        del present
        return values + torch.randn_like(values), values[:, :, 0]


# --- the graph -----------------------------------------------------------------------------------


def test_the_graph_has_the_opset_and_the_outputs_of_the_contract(model: onnx.ModelProto) -> None:
    assert {entry.domain: entry.version for entry in model.opset_import}[""] == graph_module.OPSET
    assert [slot.name for slot in model.graph.input] == ["window", "state"]
    assert [slot.name for slot in model.graph.output] == list(Detection._fields)


def test_the_graph_does_not_say_where_it_was_made(graph: bytes) -> None:
    root = Path(export.__file__).parents[1]
    assert str(root).encode() not in graph
    assert str(Path.home()).encode() not in graph
    assert b"site-packages" not in graph
    assert b"models/" not in graph


def test_the_graph_is_the_same_each_time(graph: bytes, fitted: FittedDetector) -> None:
    assert export_onnx(fitted.detector, length=LENGTH) == graph


def test_any_batch_runs_and_a_window_scores_the_same_in_each(
    graph: bytes, sequences: list[Cells], manifest: Manifest
) -> None:
    session = ort.InferenceSession(graph, providers=["CPUExecutionProvider"])
    assert isinstance(session.get_inputs()[0].shape[0], str)
    windows = np.ascontiguousarray(export.consecutive_windows(sequences[1], manifest))
    state = np.zeros(manifest.state_size, np.float32)
    first = [
        session.run(["score"], {"window": windows[:count], "state": state})[0][0]
        for count in (1, 2, 3, 255, 256, 400)
    ]
    np.testing.assert_allclose(first, first[0], rtol=1e-5)


def test_a_graph_that_draws_is_refused(fitted: FittedDetector) -> None:
    detector = copy.deepcopy(fitted.detector)
    detector.reconstructor = Restless()
    with pytest.raises(ExportError, match=r"draws random numbers \(RandomNormalLike\)"):
        export_onnx(detector, length=LENGTH)


def test_a_graph_that_names_its_sources_is_refused(
    fitted: FittedDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph_module, "_traced", {})
    monkeypatch.setattr(graph_module, "_forget_origin", lambda _: None)
    with pytest.raises(ExportError, match="names the source files"):
        export_onnx(fitted.detector, length=LENGTH)


def test_weights_that_happen_to_spell_a_file_name_are_not_refused(fitted: FittedDetector) -> None:
    detector = copy.deepcopy(fitted.detector)
    detector.normalizer.mean[0] = torch.from_numpy(np.frombuffer(b"1.py", np.float32).copy())[0]
    assert b".py" in export_onnx(detector, length=LENGTH)


def test_another_opset_is_refused(model: onnx.ModelProto) -> None:
    for entry in model.opset_import:
        entry.version = 19 if entry.domain == "" else entry.version
    with pytest.raises(ExportError, match="the graph has opset 19, expected 20"):
        graph_module._check_graph(model)  # noqa: SLF001 - the exporter itself never makes such a graph


def test_the_exporter_is_quiet_and_leaves_logging_as_it_was(
    fitted: FittedDetector, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("torch.onnx")
    before = logger.level

    def broken(*_args: object, **_options: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(graph_module, "_traced", {})
    monkeypatch.setattr(torch.onnx, "export", broken)
    with pytest.raises(RuntimeError, match="no"):
        export_onnx(fitted.detector, length=LENGTH)
    assert logger.level == before
    assert capsys.readouterr() == ("", "")


# --- parity --------------------------------------------------------------------------------------


def test_an_untouched_graph_is_proven(
    fitted: FittedDetector, graph: bytes, manifest: Manifest, sequences: Sequence[Cells]
) -> None:
    assert prove_parity(fitted.detector, graph, manifest, sequences) == 2 * (685 + 485)


def test_a_tampered_weight_is_refused_for_its_score(
    fitted: FittedDetector, graph: bytes, manifest: Manifest, sequences: Sequence[Cells]
) -> None:
    tampered = scaled(graph, "combined.maps.slopes", 1.001)
    message = r"pump_07: ONNX Runtime in batches gives another score than torch in \d+ of 685"
    with pytest.raises(ExportError, match=message):
        prove_parity(fitted.detector, tampered, manifest, sequences)


def test_a_decision_that_flips_is_refused_though_every_score_is_close(
    fitted: FittedDetector, graph: bytes, manifest: Manifest, sequences: Sequence[Cells]
) -> None:
    windows = export.consecutive_windows(sequences[0], manifest)
    highest = float(EdgeDetector(graph, manifest).score(windows).score.max())
    between = replace(manifest, threshold=replace(manifest.threshold, score=highest * 1.00002))
    prove_parity(fitted.detector, graph, between, sequences)
    with pytest.raises(ExportError, match="gives another decision than torch in 1 of 685"):
        prove_parity(
            fitted.detector, scaled(graph, "combined.maps.slopes", 1.00004), between, sequences
        )


def test_a_graph_that_forgets_in_batches_is_refused(
    fitted: FittedDetector, graph: bytes, manifest: Manifest, sequences: Sequence[Cells]
) -> None:
    detector = copy.deepcopy(fitted.detector)
    detector.smoothing.averages[0].rate = 0.5  # type: ignore[assignment]
    with pytest.raises(ExportError, match="gives another score"):
        prove_parity(detector, graph, manifest, sequences)


def test_too_few_windows_prove_nothing(
    fitted: FittedDetector, graph: bytes, manifest: Manifest, sequences: Sequence[Cells]
) -> None:
    few = [sequences[0][: 63 + manifest.window.length - 1]]
    with pytest.raises(ExportError, match=r"pump_07: 63 windows cannot prove the export, .* 64"):
        prove_parity(fitted.detector, graph, manifest, few)


def test_few_windows_are_compared_again_with_other_values_missing(
    fitted: FittedDetector, graph: bytes, manifest: Manifest, sequences: Sequence[Cells]
) -> None:
    few = [sequences[0][: 100 + manifest.window.length - 1]]
    assert prove_parity(fitted.detector, graph, manifest, few) == 100 + 1_000


# --- the bundle ----------------------------------------------------------------------------------


def test_the_bundle_opens_with_golden_vectors_that_hold(
    fitted: FittedDetector,
    manifest: Manifest,
    sequences: Sequence[Cells],
    tmp_path: Path,
    private_key: Ed25519PrivateKey,
) -> None:
    path = export_bundle(
        fitted.detector, manifest, sequences, tmp_path / "new", private_key=private_key
    )
    assert path == tmp_path / "new" / "pump_07-1.fwb"
    bundle = read_bundle(path, trusted_keys=[private_key.public_key()])
    check_golden(EdgeDetector.from_bundle(bundle), bundle)
    assert len(bundle.golden.score) == export.GOLDEN_WINDOWS
    assert bundle.golden.anomalous.any()
    root = Path(export.__file__).parents[1]
    assert str(root).encode() not in path.read_bytes()


def test_a_threshold_that_a_score_lies_on_is_raised_until_none_is_near(
    fitted: FittedDetector,
    manifest: Manifest,
    sequences: Sequence[Cells],
    tmp_path: Path,
    private_key: Ed25519PrivateKey,
) -> None:
    windows = torch.from_numpy(export.consecutive_windows(sequences[0], manifest).copy())
    scores = score_run(fitted.detector, [windows]).score.numpy()
    on_it = float(np.sort(scores)[-5])
    spec = replace(manifest.threshold, score=on_it)
    path = export_bundle(
        fitted.detector,
        replace(manifest, threshold=spec),
        sequences,
        tmp_path,
        private_key=private_key,
    )
    raised = read_bundle(path, trusted_keys=[private_key.public_key()]).manifest.threshold.score
    assert on_it < raised < on_it + 0.05
    assert np.abs(scores - raised).min() > export.TOLERANCE * raised


def test_without_a_long_sequence_there_are_no_golden_vectors(
    graph: bytes, manifest: Manifest, sequences: Sequence[Cells]
) -> None:
    short = [sequences[0][:78], sequences[1][:10]]
    with pytest.raises(ExportError, match="no uninterrupted sequence has 79 cells"):
        make_golden(graph, manifest, short)
    assert len(make_golden(graph, manifest, [sequences[0][:79]]).cells) == 79


def test_sequences_shorter_than_a_window_are_passed_over(
    fitted: FittedDetector,
    graph: bytes,
    manifest: Manifest,
    sequences: list[Cells],
    normal: Windows,
) -> None:
    with_scrap = [normal.cells[:5], *sequences]
    assert prove_parity(fitted.detector, graph, manifest, with_scrap) == 2 * (685 + 485)
