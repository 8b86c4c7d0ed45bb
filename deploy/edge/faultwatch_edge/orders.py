"""What an operator may tell an alarm: who, what and why, checked as strictly as anything else."""

from dataclasses import dataclass
from typing import Final, Literal

from faultwatch_edge.alarm import LONGEST_SHELVE_US, LONGEST_SUPPRESSION_US
from faultwatch_edge.errors import BundleError
from faultwatch_edge.strict_json import read_json

Verb = Literal[
    "acknowledge",
    "shelve",
    "unshelve",
    "suppress",
    "unsuppress",
    "take_out_of_service",
    "return_to_service",
    "roll_back",
]
"""What is said to an alarm; ``roll_back``: to the bundle, to make way for the one before it."""
LARGEST: Final = 4096
"""Bytes of an order."""
_LONGEST_NAME: Final = 64
_LONGEST_REASON: Final = 200
_LONGEST_S: Final = {"shelve": LONGEST_SHELVE_US / 1e6, "suppress": LONGEST_SUPPRESSION_US / 1e6}
_NEED_REASON: Final = frozenset({"shelve", "suppress", "take_out_of_service", "roll_back"})


@dataclass(frozen=True, slots=True)
class Order:
    """One verb of one person.

    Example:
        >>> read_order(b'{"verb": "acknowledge", "by": "Kim"}').by
        'Kim'
        >>> read_order(b'{"verb": "shelve", "by": "Kim", "for_s": 3600}')
        Traceback (most recent call last):
            ...
        faultwatch_edge.errors.BundleError: order: reason is empty, expected why
    """

    verb: Verb
    by: str
    """Who says so."""
    reason: str = ""
    """Why; needed for whatever keeps something from being told, and to roll back."""
    for_s: float | None = None
    """How long the alarm is shelved or suppressed."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.by.strip()) <= _LONGEST_NAME or not self.by.isprintable():
            raise BundleError(f"by is {self.by[:80]!r}, expected a name of 1 to {_LONGEST_NAME}")
        if len(self.reason) > _LONGEST_REASON or not self.reason.isprintable():
            raise BundleError(f"reason is too long, expected a line of at most {_LONGEST_REASON}")
        if self.verb in _NEED_REASON and not self.reason.strip():
            raise BundleError("reason is empty, expected why")
        longest_s = _LONGEST_S.get(self.verb)
        if (longest_s is None) != (self.for_s is None):
            raise BundleError(
                "for_s goes with 'shelve' and 'suppress', expected how many seconds it lasts"
            )
        if self.for_s is not None and not 0 < self.for_s <= (longest_s or 0.0):
            raise BundleError(
                f"for_s is {self.for_s:g}, expected more than 0, {longest_s:g} at most"
            )


def read_order(body: bytes) -> Order:
    """Read an order.

    Raises:
        BundleError: it is none; the text says what was expected.
    """
    if len(body) > LARGEST:
        raise BundleError(f"order: has {len(body)} bytes, expected at most {LARGEST}")
    return read_json(Order, body, where="order")
