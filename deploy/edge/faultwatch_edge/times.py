"""Instants as whole microseconds since the epoch, UTC: exact, quick to compare and to divide."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SECOND_US = 1_000_000
EARLIEST_US = (datetime(1900, 1, 1, tzinfo=UTC) - EPOCH) // MICROSECOND
LATEST_US = (datetime(9000, 1, 1, tzinfo=UTC) - EPOCH) // MICROSECOND


def microseconds(seconds: float) -> int:
    """Length of a duration, rounded to the microsecond.

    Example:
        >>> microseconds(0.1)
        100000
    """
    return round(seconds * SECOND_US)


def to_microseconds(instant: datetime) -> int:
    """Microseconds since the epoch of an instant that knows its offset.

    Example:
        >>> to_microseconds(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
        1000000
    """
    return (instant - EPOCH) // MICROSECOND


def to_datetime(at_us: int) -> datetime:
    """The instant, in UTC.

    Example:
        >>> to_datetime(1_500_000).isoformat()
        '1970-01-01T00:00:01.500000+00:00'
    """
    return EPOCH + timedelta(microseconds=at_us)


def to_iso(at_us: int) -> str:
    """The instant as ISO-8601 with a Z.

    Example:
        >>> to_iso(1_500_000)
        '1970-01-01T00:00:01.500000Z'
    """
    return to_datetime(at_us).replace(tzinfo=None).isoformat() + "Z"


def to_compact(at_us: int) -> str:
    """The instant as part of an identifier; a fraction appears only where there is one.

    Example:
        >>> to_compact(0), to_compact(250_000)
        ('19700101T000000Z', '19700101T000000.250000Z')
    """
    return to_iso(at_us).replace("-", "").replace(":", "")
