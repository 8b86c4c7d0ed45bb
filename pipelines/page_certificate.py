"""The certificate as the report page shows it: a table that is a map of colours."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from faultwatch_edge.certificate import Certificate, DetectionLimit
from features.remarks import with_unit
from pipelines.page_words import brief, count, duration
from pipelines.verdict import limit_text

LEVELS = (1.0, 2.0, 4.0, 8.0, 16.0)
"""Sizes at which the colour changes, in standard deviations; the page's style has one more."""


@dataclass(frozen=True)
class LimitCell:
    """What is found of one kind of fault in one channel."""

    text: str
    remark: str
    level: str
    """Of its colour: 0 (found when small) to 5, ``found`` without a size, ``none``."""


@dataclass(frozen=True)
class LimitRow:
    """One channel."""

    channel: str
    """As the file calls it."""
    cells: tuple[LimitCell, ...]
    """One a kind."""


@dataclass(frozen=True)
class LimitTable:
    """Smallest fault of each kind that is found in each channel."""

    lead: str
    kinds: tuple[str, ...]
    levels: tuple[str, ...]
    """What the colours mean, the smallest sizes first."""
    rows: tuple[LimitRow, ...]
    notes: tuple[str, ...]


def make_limit_table(
    certificate: Certificate, columns: Mapping[str, str], *, row_s: float | None, is_labelled: bool
) -> LimitTable:
    """Put a certificate into words.

    Args:
        certificate: detection limits.
        columns: what the file calls each channel.
        row_s: seconds from row to row where rows have no times; None = they have.
        is_labelled: whether people said what of the running is not normal.
    """
    kinds = tuple(dict.fromkeys(limit.kind for limit in certificate.limits))
    limits = {(limit.channel, limit.kind): limit for limit in certificate.limits}
    channels = dict.fromkeys(channel for channel, _ in limits)
    words = _Words(certificate, row_s)
    return LimitTable(
        lead=words.lead(),
        kinds=kinds,
        levels=tuple(_level_texts()),
        rows=tuple(
            LimitRow(columns[channel], tuple(words.cell(limits[channel, kind]) for kind in kinds))
            for channel in channels
        ),
        notes=tuple(words.notes(columns, is_labelled=is_labelled)),
    )


def _level_texts() -> Iterator[str]:
    yield f"below {LEVELS[0]:g} sd"
    for low, high in pairwise(LEVELS):
        yield f"{low:g} to {high:g}"
    yield f"{LEVELS[-1]:g}"


class _Words:
    def __init__(self, certificate: Certificate, row_s: float | None) -> None:
        self._of = certificate
        self._row_s = row_s

    def _long(self, seconds: float) -> str:
        return duration(seconds / (self._row_s or 1.0), has_times=self._row_s is None)

    def lead(self) -> str:
        """What the table means."""
        of = self._of
        return (
            f"The smallest sensor fault of each kind that would be found within "
            f"{self._long(of.within_s)}. Each was put into normal running that nothing was learned "
            f"from, at {count(of.onsets, 'instant')}; it counts as found if an alarm or a sensor "
            f"event of its channel came in time at {of.needed} of them. Sizes are in standard "
            f"deviations of the channel in normal running (sd), from {of.smallest:g} to "
            f"{of.largest:g}; below, the same in its unit, and the median delay."
        )

    def cell(self, limit: DetectionLimit) -> LimitCell:
        """One fault of one channel."""
        delay = "" if limit.median_delay_s is None else self._long(limit.median_delay_s)
        text = limit_text(self._of, limit)
        if limit.deviations is not None and limit.size is not None:
            size = with_unit(limit.size, unit=limit.unit)
            level = sum(limit.deviations >= border for border in LEVELS)
            return LimitCell(f"{text} sd", f"{size} · {delay}", str(level))
        if limit.is_found:
            return LimitCell(text, delay, "found")
        share = f"{limit.found} of {self._of.onsets} found"
        return LimitCell(f"{text} sd" if limit.has_size else text, share, "none")

    def notes(self, columns: Mapping[str, str], *, is_labelled: bool) -> Iterator[str]:
        """What the figures rest on."""
        of = self._of
        yield (
            "A bias is added, a drift grows to its size in the time given, noise has it as its "
            "deviation, a spike comes every tenth sample, a gain multiplies the distance from the "
            "mean by 1 + its size in sd. A sensor that is stuck or drops out has no size."
        )
        labels = "" if is_labelled else " Nothing of it is labelled, so all of it counts as normal."
        alarms = f"raised {count(of.alarms, 'alarm')}"
        if self._row_s is None:
            alarms += (
                f" in {of.days:.3g} scored days, {brief(of.realised_per_day)} a day; the "
                f"threshold promises {brief(of.promised_per_day)}"
            )
        yield f"The same running without any fault {alarms}.{labels}"
        if of.uncertified:
            names = ", ".join(columns[one.channel] for one in of.uncertified)
            yield f"Not certified, {of.uncertified[0].reason}: {names}."
