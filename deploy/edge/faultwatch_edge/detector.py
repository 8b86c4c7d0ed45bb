"""The exported graph behind ONNX Runtime: consecutive windows in, scores out."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as runtime

from faultwatch_edge.bundle import Bundle, Manifest
from faultwatch_edge.decisions import decide
from faultwatch_edge.errors import BundleError
from faultwatch_edge.grid import Cell
from faultwatch_edge.interface import check_interface, check_outputs
from faultwatch_edge.window import WindowBuffer, sequence_windows

LARGEST_BATCH = 256
SCORE_TOLERANCE = 1e-3
GATE_OPEN = 0.5

_ERRORS_ONLY = 3
_RUNTIME_ERRORS = tuple(
    error
    for error in vars(runtime).values()
    if isinstance(error, type) and issubclass(error, Exception)
)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What the graph says about consecutive windows; the first axis is the window."""

    score: NDArray[np.float32]
    """(window,); higher = more anomalous."""
    contribution: NDArray[np.float32]
    """(window, channel)"""
    sensor_status: NDArray[np.int8]
    """(window, channel); NE 107: 0 good, 1 failure, 2 function check, 3 out of specification,
    4 maintenance required."""
    gate: NDArray[np.float32]
    """(window,); 1 = the machine is in a regime that is scored."""
    reconstruction: NDArray[np.float32]
    """(window, channel, time), engineering units."""
    latent: NDArray[np.float32]
    """(window, latent)"""
    operating_point: NDArray[np.float32]
    """(window, channel); shares in the distance from where the machine ran in training. Their sum
    is 1 or more at a new operating point; all are 0 where the graph does not know."""

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(window,); whether the score counts: the gate is open and the score is a number."""
        return (self.gate >= GATE_OPEN) & np.isfinite(self.score)


class Detector:
    """Scores the consecutive windows of one asset; carries the graph's state between calls.

    The state is never read here. It starts as zeros, and ``reset`` makes it zeros again.

    Args:
        onnx: the graph, weights included.
        manifest: what its inputs and outputs must look like.

    Raises:
        BundleError: the runtime cannot load the graph, or its interface is not the contract's.
    """

    def __init__(self, onnx: bytes, manifest: Manifest) -> None:
        self._manifest = manifest
        self._session = _make_session(onnx, manifest.file_name)
        outputs = self._session.get_outputs()
        check_interface(self._session.get_inputs(), outputs, manifest)
        self._outputs = [slot.name for slot in outputs]
        self.reset()

    @classmethod
    def from_bundle(cls, bundle: Bundle) -> Self:
        """The detector in a bundle."""
        return cls(bundle.onnx, bundle.manifest)

    def reset(self) -> None:
        """Forget the windows so far: the next one starts a sequence."""
        self._state = np.zeros(self._manifest.state_size, dtype=np.float32)

    @property
    def state(self) -> NDArray[np.float32]:
        """What is carried to the next window, for ``resume``; not to be changed."""
        return self._state

    def resume(self, state: NDArray[np.float32]) -> None:
        """Go on from where ``state`` was taken: the next window follows the one before it."""
        self._state = state

    def score(self, windows: NDArray[np.float32]) -> Scores:
        """Score the next windows of the sequence, in order of time.

        Args:
            windows: (window, channel, time), engineering units, NaN = missing; at least one.
        """
        windows = np.asarray(windows, dtype=np.float32)
        expected = (len(self._manifest.channels), self._manifest.window.length)
        if windows.ndim != 1 + len(expected) or windows.shape[1:] != expected or not len(windows):
            raise ValueError(
                f"windows have shape {windows.shape}, expected (1 or more, *{expected})"
            )
        starts = range(0, len(windows), LARGEST_BATCH)
        return _joined([self._run(windows[start : start + LARGEST_BATCH]) for start in starts])

    def _run(self, windows: NDArray[np.float32]) -> Scores:
        """Score one batch; one that holds no number is scored singly.

        A state that is no number must not outlive the window that made it.
        """
        try:
            found = self._session.run(self._outputs, {"window": windows, "state": self._state})
        except _RUNTIME_ERRORS as error:
            raise BundleError(
                f"{self._manifest.file_name}: the graph cannot score {len(windows)} windows "
                f"({_first_line(error)}); release the model again"
            ) from error
        outputs = dict(zip(self._outputs, found, strict=True))
        check_outputs(outputs, len(windows), self._manifest)
        next_state = outputs.pop("next_state")
        is_finite = bool(np.isfinite(next_state).all())
        if len(windows) > 1 and not (is_finite and np.isfinite(outputs["score"]).all()):
            return _joined([self._run(window[np.newaxis]) for window in windows])
        self._state = next_state if is_finite else np.zeros_like(next_state)
        status = np.rint(outputs["sensor_status"]).astype(np.int8)
        unknown = np.zeros_like(outputs["contribution"])
        return Scores(**{"operating_point": unknown, **outputs, "sensor_status": status})


def check_golden(detector: Detector, bundle: Bundle) -> None:
    """Replay the golden cells, window by window and in one batch, and compare with the record.

    Scores agree to 1e-3 * max(1, |score|), decisions are equal, contributions are finite. The
    detector is reset before and after.

    Raises:
        BundleError: a window differs; the text names the first.
    """
    window, golden = bundle.manifest.window, bundle.golden
    buffer = WindowBuffer(
        length=window.length, hop=window.hop, channel_count=len(bundle.manifest.channels)
    )
    cells = (
        Cell(row * window.sample_period_us, values.astype(np.float64), starts_sequence=row == 0)
        for row, values in enumerate(golden.cells)
    )
    pushed = (buffer.push(cell) for cell in cells)
    detector.reset()
    single = _joined([detector.score(one[np.newaxis]) for one in pushed if one is not None])
    _compare(single, bundle, "one by one")
    detector.reset()
    windows = sequence_windows(golden.cells, length=window.length, hop=window.hop)
    _compare(detector.score(windows), bundle, "in one batch")
    detector.reset()


def _compare(scores: Scores, bundle: Bundle, how: str) -> None:
    golden, threshold = bundle.golden, bundle.manifest.threshold.score
    recorded = golden.gate >= GATE_OPEN
    tolerance = SCORE_TOLERANCE * np.maximum(1.0, np.abs(golden.score))
    close = np.abs(scores.score - golden.score) <= tolerance
    decisions = decide(scores.score, threshold, scored=scores.scored)
    expected = [
        bool(anomalous) if counts else None
        for anomalous, counts in zip(golden.anomalous, recorded, strict=True)
    ]
    same = np.array([one == other for one, other in zip(decisions, expected, strict=True)])
    finite = np.isfinite(scores.contribution).all(axis=1)
    wrong = np.flatnonzero(~(same & ((close & finite) | ~recorded)))
    if len(wrong):
        first = int(wrong[0])
        raise BundleError(
            f"{bundle.manifest.file_name}: golden window {first} of {len(same)} replayed {how} has "
            f"score {scores.score[first]:.6g} (anomalous: {decisions[first]}), expected "
            f"{golden.score[first]:.6g} ({expected[first]}); release the model again"
        )


def _make_session(onnx: bytes, name: str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # 4 MB less, some 2% slower
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = _ERRORS_ONLY
    try:
        return ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except _RUNTIME_ERRORS as error:
        raise BundleError(
            f"{name}: detector.onnx cannot be loaded ({_first_line(error)}); export the model again"
        ) from error


def _joined(parts: Sequence[Scores]) -> Scores:
    if len(parts) == 1:
        return parts[0]
    names = [field.name for field in fields(Scores)]
    return Scores(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    )


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
