"""Arrays of numbers as text, exactly and quickly: what an agent remembers is kept at every step."""

import base64
import binascii
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from faultwatch_edge.errors import BundleError


def pack(values: NDArray[Any]) -> str:
    """The array's bytes, little endian, in base64.

    Example:
        >>> packed = pack(np.array([0.1, np.nan]))
        >>> unpack(packed, np.float64, (2,)).tolist()
        [0.1, nan]
    """
    little = np.ascontiguousarray(values, values.dtype.newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode("ascii")


def unpack(text: str, kind: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """What ``pack`` packed.

    Raises:
        BundleError: it is not so many numbers of that kind.
    """
    dtype = np.dtype(kind).newbyteorder("<")
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BundleError(f"holds numbers that are not in base64 ({error})") from error
    expected = int(np.prod(shape, dtype=np.int64))
    if len(data) != expected * dtype.itemsize:
        raise BundleError(f"holds {len(data)} bytes of numbers, expected {expected} numbers")
    return np.frombuffer(data, dtype).reshape(shape).astype(kind)
