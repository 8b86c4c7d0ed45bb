"""Where samples come from and how they are written: the ``[source]`` section of the asset file."""

import codecs
from typing import Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, Field, field_validator, model_validator

from features.channels import SECTION
from features.time_pattern import check_pattern

EPOCHS = {"epoch_s": 1_000_000, "epoch_ms": 1_000, "epoch_us": 1}
"""Words for times that are numbers since 1970, and the microseconds of their unit."""
EPOCH_NS = "epoch_ns"
GOOD_QUALITY = ("good", "192")
BAD_VALUES = (
    "bad",
    "bad input",
    "bad quality",
    "calc failed",
    "comm fail",
    "configure",
    "error",
    "i/o timeout",
    "intf shut",
    "invalid",
    "no data",
    "no result",
    "not connect",
    "not connected",
    "offline",
    "out of service",
    "over range",
    "pt created",
    "scan off",
    "scan timeout",
    "shutdown",
    "under range",
    "#n/a",
    "#value!",
    "-",
    "?",
)
"""What historians and spreadsheets write in the place of a value that is bad."""


class SourceConfig(BaseModel):
    """``[source]``: where samples come from, and how they are written.

    Example:
        >>> SourceConfig(files="data/*.csv", layout="long").time
        'time'
    """

    model_config = SECTION

    files: str | None = None
    """Glob of CSV or Parquet files; relative to the asset file. Or `sql`."""
    sql: str | None = None
    """Query whose rows are the samples; the database's address is in the environment."""
    layout: Literal["wide", "long"] = "wide"
    """One column a channel, or one row a value (time, tag, value, quality)."""
    time: str = "time"
    """Name of the time column."""
    time_format: str = "iso"
    """``iso``, ``epoch_s``, ``epoch_ms``, ``epoch_us``, ``epoch_ns`` or a pattern of strptime."""
    time_zone: str | None = None
    """Zone of times without an offset, such as ``Europe/Berlin``; None = they are quarantined."""
    fold: Literal["earlier", "later"] | None = None
    """Which of the two hours a doubled local time means; None = it is quarantined."""
    tag: str = "tag"
    """Long layout: name of the column that says which signal."""
    value: str = "value"
    """Long layout: name of the column of values."""
    quality: str | None = None
    """Long layout: name of the column of quality words or codes; None = there is none."""
    good_quality: tuple[str, ...] = GOOD_QUALITY
    """Words and codes that say good; with any other the value is missing, and counted."""
    bad_values: tuple[str, ...] = BAD_VALUES
    """Words in the place of a value that say it is bad: missing, and counted."""
    separator: str = Field(default=",", min_length=1, max_length=1)
    """What stands between the fields of a CSV line."""
    decimal: Literal[".", ","] = "."
    """Decimal mark of CSV files."""
    encoding: str = "utf-8"
    """Encoding of CSV files, in Python's words: ``cp1252``, ``utf-16``."""
    header: bool = True
    """Whether the first line of a CSV file names the columns; else they are column_1, column_2 …"""
    columns: Literal["plain", "by_folder"] = "plain"
    """``by_folder``: a column is ``folder/column``, for one folder a component."""
    partial: bool = False
    """Whether a file may lack channels: those are missing in it."""
    overlap_s: float = Field(default=86_400.0, ge=0.0)
    """SQL: how far back each run reads again, for rows that came late."""
    labels: str | None = None
    """CSV of labelled intervals; relative to the asset file."""

    @field_validator("time_format")
    @classmethod
    def _check_time_format(cls, form: str) -> str:
        is_word = form in ("iso", *EPOCHS, EPOCH_NS)
        if not is_word and (wrong := check_pattern(form)):
            msg = f"time_format = '{form}' {wrong}"
            raise ValueError(msg)
        return form

    @field_validator("time_zone")
    @classmethod
    def _check_zone(cls, name: str | None) -> str | None:
        try:
            if name is not None:
                ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            msg = f"time_zone = '{name}' is no zone; write one such as 'Europe/Berlin' or 'UTC'"
            raise ValueError(msg) from error
        return name

    @field_validator("encoding")
    @classmethod
    def _check_encoding(cls, name: str) -> str:
        try:
            "".encode(name)
            codecs.getincrementaldecoder(name)(errors="replace").decode(b"")
        except (LookupError, UnicodeError) as error:
            msg = f"encoding = '{name}' is not known; write one such as 'utf-8' or 'cp1252'"
            raise ValueError(msg) from error
        return name

    @field_validator("separator")
    @classmethod
    def _check_separator(cls, mark: str) -> str:
        if mark in '"\r\n' or not mark.isascii() or mark.isalnum():
            msg = f"separator = {mark!r} cannot part fields; write ',', ';' or '\\t'"
            raise ValueError(msg)
        return mark

    @model_validator(mode="after")
    def _check_places(self) -> Self:
        if (self.files is None) == (self.sql is None):
            msg = "[source] needs either files or sql"
            raise ValueError(msg)
        if self.separator == self.decimal:
            msg = f"[source] separator and decimal are both '{self.decimal}'"
            raise ValueError(msg)
        parts = [self.time, self.tag, self.value, *filter(None, [self.quality])]
        if self.layout == "long" and len(set(parts)) < len(parts):
            msg = f"[source] time, tag, value and quality name one column twice: {', '.join(parts)}"
            raise ValueError(msg)
        return self

    @property
    def meaning(self) -> str:
        """What decides which time and value a text stands for; rows already read depend on it."""
        chosen = (self.time, self.time_format, self.time_zone, self.fold, self.decimal, self.layout)
        return repr((*chosen, self.tag, self.value) if self.layout == "long" else chosen)
