"""Events: conditions that begin and end, and that nobody needs to acknowledge."""

from collections.abc import Sequence

from faultwatch_edge.message import (
    FAILURE,
    FUNCTION_CHECK,
    GOOD,
    NE107,
    OUT_OF_SPECIFICATION,
    Condition,
    Evidence,
    Message,
    MessageWriter,
    Occurrence,
)


class EventLog:
    """Remembers which conditions are active, and speaks when one begins or ends.

    A condition that a window cannot judge stays as it is: nobody asks the log about it.

    Args:
        writer: puts an occurrence into words.
        channel_names: in the manifest's order.
    """

    def __init__(self, writer: MessageWriter, channel_names: Sequence[str]) -> None:
        self._writer = writer
        self._channel_names = channel_names
        self._onsets_us: dict[tuple[Condition, str | None], int] = {}

    def data_quality(self, what: str, at_us: int, *, is_poor: bool) -> list[Message]:
        """Whether a window could not be scored for want of data."""
        return self._update(
            "data_quality", what, at_us, active=is_poor, status=NE107[FUNCTION_CHECK]
        )

    def anomaly(self, evidence: Evidence, at_us: int, *, anomalous: bool) -> list[Message]:
        """Whether a window is anomalous, before any delay."""
        return self._update(
            "asset_anomaly",
            "Anomaly began" if anomalous else "Anomaly ended",
            at_us,
            active=anomalous,
            status=NE107[OUT_OF_SPECIFICATION],
            evidence=evidence,
        )

    def sensors(self, codes: Sequence[int], at_us: int) -> list[Message]:
        """NE 107 code of each channel; a code that NE 107 does not know counts as failure."""
        messages = []
        for channel, code in zip(self._channel_names, codes, strict=True):
            word = NE107.get(code, NE107[FAILURE])
            messages += self._update(
                "sensor_fault",
                f"Sensor '{channel}': {word.replace('_', ' ')}",
                at_us,
                active=code != GOOD,
                status=word,
                channel=channel,
            )
        return messages

    def _update(
        self,
        condition: Condition,
        what: str,
        at_us: int,
        *,
        active: bool,
        status: str,
        channel: str | None = None,
        evidence: Evidence | None = None,
    ) -> list[Message]:
        key = condition, channel
        if active == (key in self._onsets_us):
            return []
        onset_us = self._onsets_us.setdefault(key, at_us)
        if not active:
            del self._onsets_us[key]
        occurrence = Occurrence(
            condition=condition,
            what=what,
            active=active,
            onset_us=onset_us,
            at_us=at_us,
            status=status if active else NE107[GOOD],
            channel=channel,
        )
        return [self._writer.event(occurrence, evidence)]
