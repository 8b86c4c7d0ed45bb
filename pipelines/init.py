"""The verb `init`: from data to a commented asset file."""

import glob
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from features.first_look.inspection import Inspection, inspect
from features.first_look.pieces import Piece, Remark, by_reason, listed
from features.first_look.sniffing import CsvForm
from features.source import SourceConfig
from pipelines.asset_text import write_asset_text
from pipelines.data_files import InitError, find_data
from pipelines.database import sample_query
from pipelines.sampling import MOST_ROWS, sample_files
from pipelines.settings import Settings

LEAST_DAYS = 10.0
"""History that a budget of 0.1 false alarms a day wants."""
DAY_S = 86_400.0
LONGEST_ID = 64
"""Letters of an asset's id, at most."""


@dataclass(frozen=True)
class Made:
    """An asset file that was written."""

    path: Path
    summary: str
    """What was found, and what needs a person's eye."""


def init_asset(
    data: Sequence[str],
    *,
    sql: str | None,
    time: str | None,
    out: Path | None,
    asset_id: str | None,
    settings: Settings,
) -> Made:
    """Write an asset file for files, or for a query of the database that the settings name.

    Raises:
        InitError: neither or both are given, or see `init_files` and `init_query`.
        pipelines.connection.DatabaseError: the database cannot be read.
    """
    if (sql is None) == (not data):
        raise InitError("name files, folders or globs of samples, or a query with --sql, not both")
    if sql is None:
        return init_files(data, time=time, out=out, asset_id=asset_id)
    if settings.database is None:
        raise InitError("a query needs the address of the database; set FAULTWATCH_DATABASE")
    rows = sample_query(settings.database.get_secret_value(), sql, MOST_ROWS)
    return init_query(sql, rows, time=time, out=out, asset_id=asset_id)


def init_files(
    data: Sequence[str],
    *,
    time: str | None = None,
    out: Path | None = None,
    asset_id: str | None = None,
) -> Made:
    """Write an asset file for files of samples.

    Args:
        data: files, folders and globs.
        time: name of the time column; None = found by name and content.
        out: the asset file; None = named after the asset, in the current folder.
        asset_id: None = named after the data.

    Raises:
        InitError: there is such a file already, or the data cannot be used.
        features.first_look.pieces.InspectionError: the samples have no times or no numbers.
    """
    asset_id = asset_id or make_id(data[0])
    path = _free_path(out, asset_id)
    files = find_data(data, beside=path.parent)
    sampled = sample_files(files.paths)
    form = sampled.form
    found = inspect(sampled.pieces, time=time, decimal=form.decimal or "." if form else ".")
    source = SourceConfig(files=files.pattern, **_form_options(form), **found.source)
    recorded_s = found.recorded_s * len(files.paths) / sampled.files
    remarks = [*sampled.remarks, *found.remarks, *_other_files(files.others)]
    remarks += _history(min(recorded_s, (found.end_at - found.start_at).total_seconds()))
    first, count = files.paths[0].name, len(files.paths)
    what = f"'{first}'" if count == 1 else f"{count} files, the first is '{first}'"
    return _write(path, asset_id, source, found, remarks, made_from=what)


def init_query(
    sql: str,
    rows: pl.DataFrame,
    *,
    time: str | None = None,
    out: Path | None = None,
    asset_id: str | None = None,
) -> Made:
    """Write an asset file for a query.

    Args:
        sql: the query.
        rows: its first rows.
        time: name of the time column; None = found by name and content.
        out: the asset file; None = named after the asset, in the current folder.
        asset_id: None = named after the asset file.

    Raises:
        InitError: there is such a file already, or no name for the asset.
        features.first_look.pieces.InspectionError: the samples have no times or no numbers.
    """
    if asset_id is None and out is None:
        raise InitError("a query gives the asset no name; add --id, such as --id pump_07")
    asset_id = asset_id or make_id(str(out))
    path = _free_path(out, asset_id)
    found = inspect([Piece(rows, "the query")], time=time)
    remarks = list(found.remarks)
    if rows.height >= MOST_ROWS:
        text = f"only the first {rows.height} rows of the query were looked at"
        remarks.append(Remark("source.sql", text))
    else:
        remarks += _history((found.end_at - found.start_at).total_seconds())
    source = SourceConfig(sql=sql, **found.source)
    return _write(path, asset_id, source, found, remarks, made_from="a query")


def make_id(name: str) -> str:
    """Make an asset's id from the name of a file, folder or glob.

    Example:
        >>> make_id("plant/Pumpe 7.csv.gz"), make_id("runs/*.csv"), make_id("2026.parquet")
        ('pumpe_7', 'runs', 'asset_2026')
    """
    place = Path(name).absolute()
    while glob.has_magic(place.name) and not place.exists():
        place = place.parent
    stem = place.name if place.is_dir() else re.sub(r"(\.\w+)(\.gz)?$", "", place.name)
    plain = unicodedata.normalize("NFKD", stem).encode("ascii", "ignore").decode("ascii")
    word = re.sub(r"[^a-z0-9]+", "_", plain.lower()).strip("_")
    return (word if word[:1].isalpha() else f"asset_{word}".rstrip("_"))[:LONGEST_ID]


def _free_path(out: Path | None, asset_id: str) -> Path:
    path = out or Path(f"{asset_id}.toml")
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", asset_id):
        raise InitError(
            f"--id is '{asset_id}', expected a small letter, then small letters, digits and _, "
            "64 at most"
        )
    if path.exists():
        raise InitError(f"'{path}' is there already; remove it, or write another with --out")
    if not path.parent.is_dir():
        raise InitError(f"there is no folder '{path.parent}' for the asset file; make it first")
    return path


def _form_options(form: CsvForm | None) -> dict[str, Any]:
    if form is None:
        return {}
    return {
        "encoding": form.encoding,
        "separator": form.separator,
        "decimal": form.decimal,
        "header": form.header,
    }


def _other_files(count: int) -> list[Remark]:
    text = f"{count} other files are neither CSV nor Parquet, and not read"
    return [Remark("source.files", text)] if count else []


def _history(seconds: float) -> list[Remark]:
    days = seconds / DAY_S
    if days >= LEAST_DAYS:
        return []
    text = (
        f"the data cover about {days:.2g} days; a budget of 0.1 false alarms a day wants at least "
        f"{LEAST_DAYS:g} days of normal running, and the report of a training says so while "
        "there are fewer"
    )
    return [Remark("alarm.false_alarms_per_day", text)]


def _write(
    path: Path,
    asset_id: str,
    source: SourceConfig,
    found: Inspection,
    remarks: Sequence[Remark],
    *,
    made_from: str,
) -> Made:
    text = write_asset_text(asset_id, source, found, remarks, made_from=made_from)
    with path.open("x", encoding="utf-8") as stream:
        stream.write(text)
    return Made(path, _summary(path, source, found, remarks, made_from))


def _summary(
    path: Path,
    source: SourceConfig,
    found: Inspection,
    remarks: Sequence[Remark],
    made_from: str,
) -> str:
    kinds = Counter(channel.kind for channel in found.channels)
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    window = found.window
    lines = [
        f"{path}: {len(found.channels)} channels ({counted}) from {made_from}",
        f"  {source.layout} layout, times in '{source.time}' as {source.time_format}",
        f"  {_day(found.start_at)} to {_day(found.end_at)}, every {window.sample_period_s:g} s",
    ]
    lines += [
        f"Left out, since it {reason}: {listed(names)}"
        for reason, names in by_reason(found.left_out).items()
    ]
    checks = [*(f"{remark.about or 'files'}: {remark.text}" for remark in remarks)]
    checks.append("channels: range, kind and reporting are suggestions")
    if found.follows:
        checks.append(f"follows: {len(found.follows)} set-points are suggested, commented out")
    lines += ["Check in the file:", *(f"- {check}" for check in checks)]
    return "\n".join([*lines, f"Next: faultwatch ingest {path}"])


def _day(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
