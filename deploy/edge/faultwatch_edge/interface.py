"""What the contract asks of a graph: names, types and shapes of its inputs and outputs."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

from numpy.typing import NDArray

from faultwatch_edge.bundle import Manifest
from faultwatch_edge.errors import BundleError

INPUTS: Final = ("window", "state")
OUTPUTS: Final = (
    "score",
    "contribution",
    "sensor_status",
    "gate",
    "reconstruction",
    "latent",
    "next_state",
)
OPTIONAL_OUTPUTS: Final = ("operating_point",)
"""A graph without it knows no operating points."""
_FLOAT: Final = "tensor(float)"
_STATUS_TYPES: Final = (_FLOAT, "tensor(int32)", "tensor(int64)")

Shape = tuple[int | None, ...]
"""None = any size; of the batch axis: not fixed."""


class Slot(Protocol):
    """An input or output, as the runtime describes it."""

    name: str
    type: str
    shape: list[int | str | None]


def check_interface(inputs: Sequence[Slot], outputs: Sequence[Slot], manifest: Manifest) -> None:
    """Compare what a graph declares with the contract and the manifest.

    Raises:
        BundleError: a name, type or shape is another, or the batch axis is fixed.
    """
    for kind, slots, expected, optional in (
        ("inputs", inputs, INPUTS, ()),
        ("outputs", outputs, OUTPUTS, OPTIONAL_OUTPUTS),
    ):
        names = [slot.name for slot in slots]
        if sorted(names) not in (sorted(expected), sorted((*expected, *optional))):
            raise _refusal(manifest, kind, f"are {', '.join(names)}", ", ".join(expected))
    shapes = _shapes(manifest, batch=None)
    for slot in [*inputs, *outputs]:
        types = _STATUS_TYPES if slot.name == "sensor_status" else (_FLOAT,)
        if slot.type not in types:
            raise _refusal(manifest, slot.name, f"is {slot.type}", " or ".join(types))
        if not _is_declared_so(slot, shapes[slot.name]):
            raise _refusal(
                manifest, slot.name, f"has shape {slot.shape}", _words(shapes[slot.name])
            )


def check_outputs(outputs: Mapping[str, NDArray[Any]], batch: int, manifest: Manifest) -> None:
    """Compare what came out with the contract: a graph need not declare every shape.

    Raises:
        BundleError: an array has another shape.
    """
    shapes = _shapes(manifest, batch=batch)
    for name, array in outputs.items():
        expected = shapes[name]
        if len(array.shape) != len(expected) or any(
            wanted not in (None, size) for size, wanted in zip(array.shape, expected, strict=True)
        ):
            raise _refusal(manifest, name, f"came with shape {array.shape}", _words(expected))


def _shapes(manifest: Manifest, batch: int | None) -> dict[str, Shape]:
    channels, length = len(manifest.channels), manifest.window.length
    return {
        "window": (batch, channels, length),
        "state": (manifest.state_size,),
        "score": (batch,),
        "contribution": (batch, channels),
        "sensor_status": (batch, channels),
        "gate": (batch,),
        "reconstruction": (batch, channels, length),
        "latent": (batch, None),
        "operating_point": (batch, channels),
        "next_state": (manifest.state_size,),
    }


def _is_declared_so(slot: Slot, expected: Shape) -> bool:
    """Sizes that are declared as numbers must be the expected ones; a batch never is a number."""
    sizes = [size if isinstance(size, int) else None for size in slot.shape]
    if len(sizes) != len(expected):
        return False
    has_any_latent = slot.name == "latent"
    return all(
        size is None or size == wanted or (has_any_latent and axis == 1)
        for axis, (size, wanted) in enumerate(zip(sizes, expected, strict=True))
    )


def _words(shape: Shape) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)})"


def _refusal(manifest: Manifest, what: str, found: str, expected: str) -> BundleError:
    return BundleError(
        f"{manifest.file_name}: the graph's {what} {found}, expected {expected}; "
        "export the model again"
    )
