"""Detector to signed bundle; refuses to write one that would decide otherwise than torch does."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from faultwatch_edge.bundle import write_bundle
from faultwatch_edge.detector import Detector as EdgeDetector
from faultwatch_edge.golden import Golden
from faultwatch_edge.manifest import Manifest
from models.detector import Detector, initial_state
from models.graph import ExportError, export_onnx

BATCH = 256
PARITY_WINDOWS = 1_000
TOLERANCE = 1e-4
"""Largest difference of two scores, relative to the larger of 1 and the score."""
MISSING_SHARE = 0.1
GOLDEN_WINDOWS = 64


class _Expected(NamedTuple):
    """Consecutive windows, and what torch says of them."""

    windows: NDArray[np.float32]
    score: NDArray[np.float32]


def export_bundle(
    detector: Detector,
    manifest: Manifest,
    sequences: Sequence[NDArray[np.float32]],
    folder: Path,
    *,
    private_key: Ed25519PrivateKey,
) -> Path:
    """Export, prove parity on real cells, and write the signed bundle.

    The threshold is raised by the little that keeps it clear of the scores of these cells: where
    one lies on it, rounding decides, and every machine rounds in its own way.

    Args:
        detector: fitted, in evaluation mode.
        manifest: what the bundle says about itself.
        sequences: real grid cells, (row, channel) each, uninterrupted, with 64 consecutive windows
            in one of them. The golden vectors show the highest score in them.
        folder: where the bundle is written, as ``ASSET-VERSION.fwb``.
        private_key: signs the bundle.

    Raises:
        ExportError: torch and ONNX Runtime disagree, or there are too few windows to tell.
    """
    graph = export_onnx(detector, length=manifest.window.length)
    expected = _expect(detector, manifest, sequences)
    scores = np.concatenate([one.score for one in expected])
    cleared = clear_threshold(manifest.threshold.score, scores)
    manifest = replace(manifest, threshold=replace(manifest.threshold, score=cleared))
    _prove(graph, manifest, expected)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / manifest.file_name
    golden = make_golden(graph, manifest, sequences)
    write_bundle(path, manifest=manifest, onnx=graph, golden=golden, private_key=private_key)
    return path


def clear_threshold(threshold: float, scores: NDArray[np.floating]) -> float:
    """The least threshold, not below the one given, that no score is too near to.

    Too near is twice the difference of two scores that `prove_parity` lets pass.

    Args:
        threshold: of the score.
        scores: of any windows, (window,).

    Example:
        >>> scores = np.array([1.0, 2.00005, 2.0005, 3.0])
        >>> clear_threshold(1.5, scores), round(clear_threshold(2.0, scores), 6)
        (1.5, 2.0009)
    """
    margin = 2 * TOLERANCE * max(1.0, threshold)
    for score in np.sort(scores[scores > threshold - margin]).tolist():
        if score - threshold >= margin:
            break
        threshold = score + margin
    return threshold


def prove_parity(
    detector: Detector,
    graph: bytes,
    manifest: Manifest,
    sequences: Sequence[NDArray[np.float32]],
) -> int:
    """Compare torch with ONNX Runtime on real windows, as they are and with values missing.

    Both run over the same consecutive windows, ONNX Runtime in batches of 256 and one by one.
    Where there are few windows, different values of them are missing again and again, until at
    least 1,000 windows with values missing were compared.

    Returns:
        Windows compared.

    Raises:
        ExportError: too few windows, a score differs, or a decision does.
    """
    expected = _expect(detector, manifest, sequences)
    _prove(graph, manifest, expected)
    return sum(len(one.score) for one in expected)


def _expect(
    detector: Detector, manifest: Manifest, sequences: Sequence[NDArray[np.float32]]
) -> list[_Expected]:
    """What torch says of the windows as they are, then as often with values missing as is enough.

    Raises:
        ExportError: too few windows.
    """
    used = [cells for cells in sequences if len(cells) >= manifest.window.length]
    count = sum(len(consecutive_windows(cells, manifest)) for cells in used)
    if count < GOLDEN_WINDOWS:
        raise ExportError(
            f"{manifest.asset_id}: {count} windows cannot prove the export, expected at least "
            f"{GOLDEN_WINDOWS}; add normal running"
        )
    rounds = math.ceil(PARITY_WINDOWS / count)
    holed = (_with_holes(cells, seed) for seed in range(rounds) for cells in used)
    windows = (consecutive_windows(cells, manifest) for cells in (*used, *holed))
    return [_Expected(some, _torch_scores(detector, some)) for some in windows]


def _prove(graph: bytes, manifest: Manifest, expected: Sequence[_Expected]) -> None:
    runtime = EdgeDetector(graph, manifest)
    for windows, score in expected:
        _compare(score, _edge_scores(runtime, windows, BATCH), manifest, "in batches")
        single = _edge_scores(runtime, windows[:PARITY_WINDOWS], 1)
        _compare(score[:PARITY_WINDOWS], single, manifest, "one by one")


def consecutive_windows(cells: NDArray[np.float32], manifest: Manifest) -> NDArray[np.float32]:
    """All windows of one sequence of cells, (window, channel, time): a view."""
    window = manifest.window
    if len(cells) < window.length:
        return np.empty((0, cells.shape[1], window.length), dtype=np.float32)
    return sliding_window_view(cells, window.length, axis=0)[:: window.hop]


def _with_holes(cells: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """The same cells with a tenth of the values and one whole channel gone."""
    draw = np.random.default_rng(seed)
    holed = np.where(draw.random(cells.shape) < MISSING_SHARE, np.float32(np.nan), cells)
    if cells.shape[1] > 1:
        holed[:, int(draw.integers(cells.shape[1]))] = np.nan
    return holed


def _torch_scores(detector: Detector, windows: NDArray[np.float32]) -> NDArray[np.float32]:
    state, scores = initial_state(detector), []
    with torch.no_grad():
        for start in range(0, len(windows), BATCH):
            batch = np.ascontiguousarray(windows[start : start + BATCH])
            detection = detector(torch.from_numpy(batch), state)
            state = detection.next_state
            scores.append(detection.score.numpy())
    return np.concatenate(scores)


def _edge_scores(
    runtime: EdgeDetector, windows: NDArray[np.float32], batch: int
) -> NDArray[np.float32]:
    """Scores of a sequence from its start; nothing else is kept of a long one."""
    runtime.reset()
    starts = range(0, len(windows), batch)
    return np.concatenate([runtime.score(windows[s : s + batch]).score for s in starts])


def _compare(
    expected: NDArray[np.float32], found: NDArray[np.float32], manifest: Manifest, how: str
) -> None:
    allowed = TOLERANCE * np.maximum(1.0, np.abs(expected))
    wrong = np.flatnonzero(~(np.abs(found - expected) <= allowed))
    threshold = manifest.threshold.score
    flipped = np.flatnonzero((found >= threshold) != (expected >= threshold))
    for places, what in ((wrong, "score"), (flipped, "decision")):
        if len(places):
            first = places[0]
            raise ExportError(
                f"{manifest.asset_id}: ONNX Runtime {how} gives another {what} than torch in "
                f"{len(places)} of {len(expected)} windows, first in window {first}: "
                f"{found[first]:.6g} instead of {expected[first]:.6g} (threshold {threshold:.6g})"
            )


def make_golden(
    graph: bytes, manifest: Manifest, sequences: Sequence[NDArray[np.float32]]
) -> Golden:
    """Golden vectors: consecutive real windows around the highest score, with their outputs.

    Raises:
        ExportError: no sequence is long enough for 64 consecutive windows.
    """
    window = manifest.window
    rows = window.length + (GOLDEN_WINDOWS - 1) * window.hop
    runtime = EdgeDetector(graph, manifest)
    best: tuple[float, NDArray[np.float32]] | None = None
    for cells in sequences:
        if len(cells) < rows:
            continue
        scores = _edge_scores(runtime, consecutive_windows(cells, manifest), BATCH)
        middle = int(np.argmax(scores)) * window.hop + window.length - rows // 2
        start = int(np.clip(middle, 0, len(cells) - rows))
        if best is None or scores.max() > best[0]:
            best = float(scores.max()), cells[start : start + rows]
    if best is None:
        raise ExportError(
            f"{manifest.asset_id}: no uninterrupted sequence has {rows} cells, which "
            f"{GOLDEN_WINDOWS} consecutive windows need; raise [window] max_gap_s or ingest more"
        )
    runtime.reset()
    detected = runtime.score(consecutive_windows(best[1], manifest))
    return Golden(
        cells=best[1],
        score=detected.score,
        anomalous=detected.score >= manifest.threshold.score,
        contribution=detected.contribution,
        gate=detected.gate,
    )
