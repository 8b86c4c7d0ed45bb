"""What a broker hands over."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Incoming:
    """One message that came."""

    topic: str
    payload: bytes
    is_again: bool
    """Whether the broker may have sent it before."""
    number: int
    """By which it is acknowledged."""
    qos: int
    epoch: int = 0
    """In which the broker gave the number."""
