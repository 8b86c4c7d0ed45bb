"""How the report page writes moments, durations and figures."""

from datetime import UTC, datetime

from features.remarks import in_time


def moment(x: float, *, has_times: bool) -> str:
    """A place on the axis of time, for people.

    Example:
        >>> moment(0.0, has_times=True), moment(1200.0, has_times=False)
        ('1970-01-01 00:00', 'row 1,200')
    """
    if not has_times:
        return f"row {x:,.0f}"
    at = datetime.fromtimestamp(x, UTC)
    return f"{at:%Y-%m-%d %H:%M:%S}" if at.second else f"{at:%Y-%m-%d %H:%M}"


def duration(length: float, *, has_times: bool) -> str:
    """A stretch of the axis of time, for people."""
    if has_times:
        return in_time(length)
    return "1 row" if length == 1 else f"{length:,.0f} rows"


def brief(value: float) -> str:
    """In two digits before the point or after it.

    Example:
        >>> brief(0.1234), brief(2.345), brief(12_345.6)
        ('0.12', '2.3', '12,346')
    """
    return f"{value:.2g}" if value < 9.95 else f"{value:,.0f}"  # noqa: PLR2004 - 10 when rounded


def count(number: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> count(1, "alarm"), count(2, "alarm")
        ('1 alarm', '2 alarms')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
