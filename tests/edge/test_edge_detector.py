from dataclasses import fields, replace

import numpy as np
import onnx
import pytest

from faultwatch_edge.bundle import Bundle, Golden, Manifest
from faultwatch_edge.detector import LARGEST_BATCH, Detector, Scores
from faultwatch_edge.errors import BundleError
from faultwatch_edge.window import sequence_windows

FIELDS = tuple(field.name for field in fields(Scores))


@pytest.fixture
def windows(golden: Golden) -> np.ndarray:
    cells = np.tile(golden.cells, (6, 1))
    return sequence_windows(cells, length=4, hop=2)


def assert_same(some: Scores, others: Scores) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(some, name), getattr(others, name), err_msg=name)


def one_by_one(detector: Detector, windows: np.ndarray) -> Scores:
    parts = [detector.score(window[np.newaxis]) for window in windows]
    return Scores(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS}
    )


def test_windows_scored_together_equal_windows_scored_one_by_one(
    bundle: Bundle, windows: np.ndarray
) -> None:
    assert len(windows) > LARGEST_BATCH
    detector = Detector.from_bundle(bundle)
    together = detector.score(windows)
    detector.reset()
    assert_same(together, one_by_one(detector, windows))


def test_state_is_carried_until_the_reset(bundle: Bundle, windows: np.ndarray) -> None:
    detector = Detector.from_bundle(bundle)
    first = detector.score(windows[:1])
    assert not first.scored[0]
    second = detector.score(windows[:1])
    assert second.scored[0]
    assert second.score[0] == pytest.approx(1.1 * first.score[0])
    detector.reset()
    assert_same(detector.score(windows[:1]), first)


def test_a_sequence_goes_on_from_a_state_that_was_kept(bundle: Bundle, windows: np.ndarray) -> None:
    detector = Detector.from_bundle(bundle)
    whole = detector.score(windows)
    detector.reset()
    detector.score(windows[:7])
    state = detector.state
    detector.score(windows[7:])
    detector.resume(state)
    np.testing.assert_array_equal(detector.score(windows[7:]).score, whole.score[7:])


def test_state_that_is_no_number_does_not_outlive_its_window(
    bundle: Bundle, windows: np.ndarray
) -> None:
    spoilt = windows[:6].copy()
    spoilt[2] = 1e30
    detector = Detector.from_bundle(bundle)
    together = detector.score(spoilt)
    assert np.isnan(together.score).tolist() == [False, False, True, False, False, False]
    assert together.scored.tolist() == [False, True, False, False, True, True]
    detector.reset()
    assert_same(together, one_by_one(detector, spoilt))


def test_windows_of_another_shape_are_a_programming_error(
    bundle: Bundle, windows: np.ndarray
) -> None:
    detector = Detector.from_bundle(bundle)
    for wrong in (windows[0], windows[:, :2], windows[:, :, :3], windows[:0]):
        with pytest.raises(ValueError, match="windows have shape"):
            detector.score(wrong)


def test_file_that_is_no_graph_is_refused(manifest: Manifest) -> None:
    with pytest.raises(BundleError, match=r"^pump_07-3\.fwb: detector\.onnx cannot be loaded"):
        Detector(b"no graph", manifest)


def test_graph_with_other_channels_than_the_manifest_is_refused(
    graph: bytes, manifest: Manifest
) -> None:
    fewer = replace(manifest, channels=manifest.channels[:2])
    with pytest.raises(BundleError, match=r"window has shape .* expected \(any, 2, 4\)"):
        Detector(graph, fewer)
    with pytest.raises(BundleError, match=r"state has shape \[2\], expected \(5\)"):
        Detector(graph, replace(manifest, state_size=5))


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("score", "anomaly", "outputs are anomaly, .* expected score, "),
        ("window", "input", "inputs are input, state, expected window, state"),
    ],
)
def test_graph_with_other_names_is_refused(
    old: str, new: str, reason: str, graph: bytes, manifest: Manifest
) -> None:
    model = onnx.load_from_string(graph)
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [new if name == old else name for name in names]
    for slot in [*model.graph.input, *model.graph.output]:
        slot.name = new if slot.name == old else slot.name
    with pytest.raises(BundleError, match=reason):
        Detector(model.SerializeToString(), manifest)


def test_a_graph_that_knows_no_operating_points_finds_none_new(
    graph: bytes, manifest: Manifest, windows: np.ndarray
) -> None:
    scores = Detector(graph, manifest).score(windows)
    assert scores.operating_point.shape == scores.contribution.shape
    assert not scores.operating_point.any()


def test_a_graph_that_knows_operating_points_gives_their_shares(
    knowing_graph: bytes, manifest: Manifest, windows: np.ndarray
) -> None:
    scores = Detector(knowing_graph, manifest).score(windows)
    np.testing.assert_array_equal(scores.operating_point, scores.contribution / 2)


def changed_slot(graph: bytes, name: str, kind: int, shape: list[int | str] | None) -> bytes:
    model = onnx.load_from_string(graph)
    for slots in (model.graph.input, model.graph.output):
        for slot in slots:
            if slot.name == name:
                slot.CopyFrom(onnx.helper.make_tensor_value_info(name, kind, shape))
    return bytes(model.SerializeToString())


def test_graph_with_a_fixed_batch_is_refused(graph: bytes, manifest: Manifest) -> None:
    fixed = changed_slot(graph, "window", onnx.TensorProto.FLOAT, [1, 3, 4])
    with pytest.raises(BundleError, match=r"window has shape \[1, 3, 4\], expected \(any, 3, 4\)"):
        Detector(fixed, manifest)


def test_output_with_another_number_of_axes_is_refused(graph: bytes, manifest: Manifest) -> None:
    model = onnx.load_from_string(graph)
    for node in model.graph.node:
        node.output[:] = ["flat" if name == "score" else name for name in node.output]
        node.input[:] = ["flat" if name == "score" else name for name in node.input]
    model.graph.node.append(onnx.helper.make_node("Unsqueeze", ["flat", "second"], ["score"]))
    kind = onnx.TensorProto.FLOAT
    changed = changed_slot(model.SerializeToString(), "score", kind, ["batch", 1])
    with pytest.raises(BundleError, match=r"score has shape \['batch', 1\], expected \(any\)"):
        Detector(changed, manifest)


def test_output_of_another_type_is_refused(graph: bytes, manifest: Manifest) -> None:
    model = onnx.load_from_string(graph)
    for node in model.graph.node:
        node.output[:] = ["gate_float" if name == "gate" else name for name in node.output]
    model.graph.node.append(onnx.helper.make_node("Cast", ["gate_float"], ["gate"], to=11))
    changed = changed_slot(model.SerializeToString(), "gate", onnx.TensorProto.DOUBLE, ["batch"])
    with pytest.raises(BundleError, match=r"gate is tensor\(double\), expected tensor\(float\)"):
        Detector(changed, manifest)


def test_status_codes_may_be_whole_numbers(
    graph: bytes, manifest: Manifest, windows: np.ndarray
) -> None:
    model = onnx.load_from_string(graph)
    for node in model.graph.node:
        node.output[:] = ["status" if name == "sensor_status" else name for name in node.output]
    model.graph.node.append(onnx.helper.make_node("Cast", ["status"], ["sensor_status"], to=7))
    kind = onnx.TensorProto.INT64
    changed = changed_slot(model.SerializeToString(), "sensor_status", kind, ["batch", 3])
    assert Detector(changed, manifest).score(windows[:2]).sensor_status.dtype == np.int8


def test_output_that_comes_in_another_shape_than_it_declares_is_refused(
    graph: bytes, manifest: Manifest, windows: np.ndarray
) -> None:
    model = onnx.load_from_string(graph)
    for node in model.graph.node:
        node.output[:] = ["far_all" if name == "contribution" else name for name in node.output]
        node.input[:] = ["far_all" if name == "contribution" else name for name in node.input]
    size_from_state = [
        onnx.helper.make_node("Cast", ["state"], ["state_size"], to=7),
        onnx.helper.make_node("Slice", ["state_size", "first", "second"], ["size"]),
        onnx.helper.make_node("Slice", ["far_all", "first", "size", "second"], ["contribution"]),
    ]
    model.graph.node.extend(size_from_state)
    changed = changed_slot(
        model.SerializeToString(), "contribution", onnx.TensorProto.FLOAT, ["batch", "some"]
    )
    detector = Detector(changed, manifest)
    with pytest.raises(BundleError, match=r"contribution came with shape \(2, 0\), expected \(2, "):
        detector.score(windows[:2])


def test_graph_that_fails_on_a_window_is_refused(
    graph: bytes, manifest: Manifest, windows: np.ndarray
) -> None:
    model = onnx.load_from_string(graph)
    for node in model.graph.node:
        node.output[:] = ["status" if name == "sensor_status" else name for name in node.output]
    shape_from_state = [
        onnx.helper.make_node("Cast", ["state"], ["shape"], to=7),
        onnx.helper.make_node("Reshape", ["window", "shape"], ["sensor_status"]),
    ]
    model.graph.node.extend(shape_from_state)
    detector = Detector(model.SerializeToString(), manifest)
    with pytest.raises(BundleError, match="the graph cannot score 2 windows"):
        detector.score(windows[:2])
