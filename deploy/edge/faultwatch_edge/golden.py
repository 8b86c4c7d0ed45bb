"""Golden vectors: a stretch of real cells and what the detector said about it when it was made."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from faultwatch_edge import archive
from faultwatch_edge.errors import BundleError
from faultwatch_edge.manifest import Manifest

FEWEST_WINDOWS = 50
LARGEST_UNPACKED = 64 * 1024 * 1024

_WHERE = "golden.npz"
_NPY_VERSION = (1, 0)
_DTYPES: Mapping[str, np.dtype[np.generic]] = {
    "cells": np.dtype("<f4"),
    "score": np.dtype("<f4"),
    "anomalous": np.dtype("?"),
    "contribution": np.dtype("<f4"),
    "gate": np.dtype("<f4"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Golden:
    """Consecutive cells and the outputs of the windows in them.

    The first window ends at row ``length - 1``, the next ones every ``hop`` rows.
    """

    cells: NDArray[np.float32]
    """(row, channel), engineering units, NaN = missing."""
    score: NDArray[np.float32]
    """(window,)"""
    anomalous: NDArray[np.bool_]
    """(window,); means something only where ``gate`` is 1."""
    contribution: NDArray[np.float32]
    """(window, channel)"""
    gate: NDArray[np.float32]
    """(window,); 1 = scored."""

    def to_npz(self) -> bytes:
        """The member ``golden.npz``; the same arrays give the same bytes."""
        members = {}
        for field in fields(self):
            array = np.ascontiguousarray(getattr(self, field.name), dtype=_DTYPES[field.name])
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, array, version=_NPY_VERSION, allow_pickle=False)
            members[f"{field.name}.npy"] = buffer.getvalue()
        return archive.pack(members)

    @classmethod
    def from_npz(cls, data: bytes) -> "Golden":
        """Read ``golden.npz`` within limits; nothing in it is ever unpickled.

        Raises:
            BundleError: members, types or sizes are not those of golden vectors.
        """
        limits = {f"{name}.npy": LARGEST_UNPACKED for name in _DTYPES}
        try:
            members = archive.unpack(data, limits, may_be_compressed=True, total=LARGEST_UNPACKED)
            arrays = {name: _read_npy(name, members[f"{name}.npy"]) for name in _DTYPES}
        except BundleError as error:
            raise BundleError(f"{_WHERE} {error}") from error
        return cls(**arrays)  # type: ignore[arg-type]  # the dtypes were checked by name

    def check_shapes(self, manifest: Manifest) -> None:
        """Compare with what the manifest says.

        Raises:
            BundleError: a shape or a value is not possible for that manifest.
        """
        channels, window = len(manifest.channels), manifest.window
        rows = self.cells.shape[0] if self.cells.ndim else 0
        windows = max(0, (rows - window.length) // window.hop + 1)
        shapes = {
            "cells": (rows, channels),
            "score": (windows,),
            "anomalous": (windows,),
            "contribution": (windows, channels),
            "gate": (windows,),
        }
        for name, expected in shapes.items():
            found = getattr(self, name).shape
            if found != expected:
                raise BundleError(
                    f"{_WHERE}: {name} has shape {found}, expected {expected} for {channels} "
                    f"channels and windows of {window.length} cells every {window.hop}"
                )
        if windows < FEWEST_WINDOWS:
            raise BundleError(
                f"{_WHERE}: holds {windows} windows, expected at least {FEWEST_WINDOWS}"
            )
        self._check_values()

    def _check_values(self) -> None:
        scored = self.gate >= 0.5  # noqa: PLR2004 - half-way between shut and open
        if np.isinf(self.cells).any():
            raise BundleError(f"{_WHERE}: cells holds an infinite value, expected numbers or NaN")
        for name in ("score", "contribution"):
            if not np.isfinite(getattr(self, name)[scored]).all():
                raise BundleError(f"{_WHERE}: {name} of a scored window is not finite")


def _read_npy(name: str, data: bytes) -> NDArray[np.generic]:
    """Read one array without letting its header allocate anything."""
    stream = io.BytesIO(data)
    try:
        version = np.lib.format.read_magic(stream)
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    except (ValueError, EOFError, MemoryError, RecursionError) as error:
        raise BundleError(f"member {name} is not an array ({error})") from error
    body = data[stream.tell() :]
    if version != _NPY_VERSION or dtype != _DTYPES[name] or fortran_order:
        raise BundleError(
            f"member {name} has type {dtype}, expected {_DTYPES[name]} in row order, format 1.0"
        )
    count = int(np.prod(np.array(shape, dtype=object))) if shape else 1
    if min(shape, default=1) < 0 or count * dtype.itemsize != len(body):
        raise BundleError(f"member {name} has {len(body)} bytes, expected those of shape {shape}")
    return np.frombuffer(body, dtype=dtype).reshape(shape)
