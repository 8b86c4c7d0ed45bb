"""The text of an asset file: options in TOML, each with the comments that concern it."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from features.channels import Channel
from features.first_look.inspection import Inspection
from features.first_look.pieces import Remark, by_reason
from features.grid import WindowConfig
from features.source import SourceConfig
from models.config import AlarmConfig

WIDTH = 98
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
ALWAYS = ("layout", "time", "time_format", "time_zone")
"""Options of ``[source]`` that are written even where they are as by default."""
EXPLAINED = {
    "source.files": "what `faultwatch ingest` reads, seen from this file",
    "source.time_format": "iso, epoch_s, epoch_ms, epoch_us, epoch_ns or a strptime pattern",
    "source.partial": "a file may lack channels: they are missing in it",
    "source.columns": "a tag is folder/column: one folder a component",
    "source.bad_values": "words in the place of a value that say it is bad",
    "window.sample_period_s": "length of a grid cell",
    "window.length": "cells in a window",
    "window.max_gap_s": "the longest silence that does not cut a sequence",
    "window.min_channels": "channels that need a value for a window to be scored",
    "alarm.false_alarms_per_day": "the budget; the threshold follows from it",
    "alarm.on_delay_s": "how long an anomaly must last to become an alarm",
    "alarm.off_delay_s": "how long it must be gone for the alarm to end",
    "alarm.hysteresis": "how far below the threshold it must be for that, in units of the score",
    "alarm.latch": "an alarm that has returned must be acknowledged again",
    "alarm.priority": "low, medium, high or critical",
    "alarm.cause": "likely cause, for the operator",
    "alarm.consequence": "what happens if nobody acts",
    "alarm.action": "what to do",
    "alarm.enabled": "false: scored and journalled, nothing announced",
    "asset.name": "name for people",
    "asset.site": "plant or line",
    "asset.description": "what the machine does",
}
"""What stands behind an option."""
RANGES = (
    "kind and reporting are guessed from the values; each range is a suggestion, a bit more than "
    "what was seen: put it in force, without the #, as what the sensor can measure, since a value "
    "outside counts as a fault of the sensor"
)


def write_asset_text(
    asset_id: str,
    source: SourceConfig,
    inspection: Inspection,
    remarks: Sequence[Remark],
    *,
    made_from: str,
) -> str:
    """Write an asset file.

    Args:
        asset_id: of the machine.
        source: the ``[source]`` section.
        inspection: channels, window and what else the sample says.
        remarks: what a person should look at, said beside the option.
        made_from: what the sample is, in a few words.
    """
    notes = _Notes(remarks)
    period = inspection.window.sample_period_s
    alarm = AlarmConfig(on_delay_s=3 * period, off_delay_s=10 * period)
    lines = [
        *_comment(f"Made by `faultwatch init` from {made_from}."),
        *_comment("What needs a person's eye is marked CHECK; the file works as it is."),
        *notes.about(""),
        "",
        *_section("asset", {"id": asset_id, "name": "", "site": "", "description": ""}, notes),
        *_section("source", _source_options(source), notes),
        '# labels = "labels.csv"  # intervals of faults and maintenance: start,end,kind,note',
        "",
        *_section("window", _window_options(inspection.window), notes),
        "# [regime]  # when the machine counts as running; without it always",
        '# running = [{ channel = "...", above = 0.0 }]',
        "",
        *_section("alarm", alarm.model_dump(), notes),
        *_comment(f"CHECK: {RANGES}."),
        "",
    ]
    for channel in inspection.channels:
        lines += _channel(channel, inspection, notes)
    lines += [line for words in _left_out(inspection.left_out) for line in _comment(words)]
    return "\n".join(lines).rstrip("\n") + "\n"


class _Notes:
    """Remarks as comments, by what they are about; those of no written option go to the section."""

    def __init__(self, remarks: Sequence[Remark]) -> None:
        self._remarks = remarks

    def about(self, *names: str) -> list[str]:
        """Comments on these options."""
        found = [remark.text for remark in self._remarks if remark.about in names]
        return [line for text in found for line in _comment(f"CHECK: {text}")]

    def section(self, name: str, written: Sequence[str]) -> list[str]:
        """Comments on options of a section that are not written."""
        spare = {
            remark.about
            for remark in self._remarks
            if remark.about.startswith(f"{name}.")
            and remark.about.removeprefix(f"{name}.") not in written
        }
        return self.about(*sorted(spare))


def _section(name: str, options: Mapping[str, object], notes: _Notes) -> Iterator[str]:
    yield f"[{name}]"
    yield from notes.section(name, list(options))
    for option, value in options.items():
        yield from notes.about(f"{name}.{option}")
        explained = EXPLAINED.get(f"{name}.{option}")
        text = _lines(str(value)) if option == "sql" else toml(value)
        yield f"{option} = {text}" + (f"  # {explained}" if explained else "")
    yield ""


def _source_options(source: SourceConfig) -> dict[str, object]:
    default = SourceConfig(files="*")
    always = ALWAYS if source.layout == "wide" else (*ALWAYS, "tag", "value", "quality")
    return {
        name: value
        for name, value in source.model_dump().items()
        if value is not None and (name in always or value != getattr(default, name))
    }


def _window_options(window: WindowConfig) -> dict[str, object]:
    return window.model_dump(include={"sample_period_s", "length", "max_gap_s", "min_channels"})


def _channel(channel: Channel, inspection: Inspection, notes: _Notes) -> Iterator[str]:
    yield "[[channel]]"
    yield from notes.about(f"channel.{channel.name}")
    if channel.name in inspection.constant:
        yield "# constant in the sample"
    for option in ("name", "tag", "unit", "kind", "reporting"):
        if (value := getattr(channel, option)) is not None:
            yield f"{option} = {toml(value)}"
    if channel.range is not None:
        yield f"# range = {toml(channel.range)}"
    leader = inspection.follows.get(channel.name)
    if leader is not None:
        yield f"# follows = {toml(leader)}  # CHECK: seems to be its set-point"
    yield ""


def _left_out(left_out: Mapping[str, str]) -> Iterator[str]:
    for reason, names in by_reason(left_out).items():
        quoted = ", ".join(f"'{name}'" for name in names)
        yield f"CHECK: left out, since it {reason}: {quoted}"


def _comment(text: str) -> list[str]:
    safe = CONTROL.sub("?", text)
    first, rest = "# ", "#   "
    return textwrap.wrap(
        safe, WIDTH, initial_indent=first, subsequent_indent=rest, break_long_words=False
    )


def toml(value: object) -> str:
    r"""Write a value in TOML.

    Example:
        >>> print(toml('Pumpe "1"\\Größe'), toml((0.0, 1.5)), toml(False), toml(16))
        "Pumpe \"1\"\\Größe" [0.0, 1.5] false 16
    """
    if isinstance(value, str):
        return CONTROL.sub(_escaped, json.dumps(value, ensure_ascii=False))
    if isinstance(value, tuple | list):
        return f"[{', '.join(toml(item) for item in value)}]"
    return json.dumps(value)


def _lines(sql: str) -> str:
    """A query over several lines as it is, where that can be; a new line at its end is harmless."""
    plain = "\n" in sql and "'''" not in sql and not CONTROL.search(sql.replace("\n", ""))
    return f"'''\n{sql}\n'''" if plain else toml(sql)


def _escaped(found: re.Match[str]) -> str:
    return f"\\u{ord(found[0]):04X}"
