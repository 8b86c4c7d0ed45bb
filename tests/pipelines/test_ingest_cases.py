"""One folder a kind of dirt: what a plant has, and what becomes of it.

A folder of ``tests/cases/ingest`` holds ``asset.toml``, the files in ``data`` and what is expected:
``expected.csv`` (samples), ``expected_quarantine.csv`` and ``expected.txt`` (the sentences). Files
that text cannot show are written in ``make.toml``. Folders ``step_1``, ``step_2`` are copied over
``data`` one after the other, with an ingest after each.
"""

import gzip
import re
import shutil
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.schema import check_samples
from pipelines.config import AssetConfig, load_asset
from pipelines.historian import Historian
from pipelines.ingest import Ingested, IngestError, ingest_asset

FOLDER = Path(__file__).parents[1] / "cases" / "ingest"
CASES = sorted(path for path in FOLDER.iterdir() if path.is_dir())
COUNTED = re.compile(r": (\d+) rows.*?: (\d+ kept.*)")


def make_files(recipe: Path, folder: Path) -> None:
    """Write what a recipe says: text in some encoding, zipped and cut; or typed columns."""
    files: list[dict[str, Any]] = tomllib.loads(recipe.read_text(encoding="utf-8"))["file"]
    for file in files:
        path = folder / file["name"]
        if "columns" in file:
            pl.DataFrame(file["columns"]).write_parquet(path)
            continue
        data = file["text"].encode(file.get("encoding", "utf-8"))
        if file.get("gzip"):
            data = gzip.compress(data, compresslevel=0, mtime=0)
        path.write_bytes(data[: file.get("keep")])


def copy_over(step: Path, data: Path) -> None:
    """Put the files of a step in the place of those of the same name."""
    data.mkdir(exist_ok=True)
    shutil.copytree(step, data, dirs_exist_ok=True, copy_function=shutil.copyfile)
    if (recipe := data / "make.toml").exists():
        make_files(recipe, data)
        recipe.unlink()


def ingest(asset: AssetConfig, historian: Historian) -> tuple[Ingested, list[str]]:
    said: list[str] = []
    try:
        done = ingest_asset(asset, historian, say=said.append)
    except IngestError as error:
        done = Ingested((), (str(error),), None)
        said.append(str(error))
    return done, said


def as_text(rows: pl.DataFrame) -> str:
    return rows.write_csv(datetime_format="%Y-%m-%dT%H:%M:%S%.fZ")


def check_sums(said: list[str], done: Ingested, historian: Historian) -> None:
    """The counts of each sentence add up, and are those of the tables."""
    for rows, fates in (hit.groups() for line in said if (hit := COUNTED.search(line))):
        assert int(rows) == sum(map(int, re.findall(r"\d+", fates)))
    if not any("has changed" in line for line in said):  # its rows were counted before, too
        reasons = historian.read_quarantine()["reason"]
        assert historian.read().height == done.counts.kept
        assert (~reasons.str.starts_with("superseded")).sum() == done.counts.quarantined


def check_again(asset: AssetConfig, historian: Historian, before: Ingested) -> None:
    """An ingest of the same files changes nothing."""
    state = (historian.version(), as_text(historian.read()), as_text(historian.read_quarantine()))
    again, _ = ingest(asset, historian)
    assert state == (
        historian.version(),
        as_text(historian.read()),
        as_text(historian.read_quarantine()),
    )
    assert [(one.source, one.counts, one.bad) for one in again.sources] == [
        (one.source, one.counts, one.bad) for one in before.sources
    ]
    assert again.failures == before.failures


def run_case(case: Path, folder: Path) -> tuple[str, str, str]:
    """What is in the tables after the last step, and what was said in all of them."""
    shutil.copyfile(case / "asset.toml", folder / "asset.toml")
    asset = load_asset(folder / "asset.toml")
    historian = Historian(folder / "historian", asset.asset.id, asset.channel)
    paragraphs: list[str] = []
    for step in sorted(case.glob("step_*")) or [case / "data"]:
        copy_over(step, folder / "data")
        done, said = ingest(asset, historian)
        check_sums("\n".join([*paragraphs, *said]).splitlines(), done, historian)
        check_again(asset, historian, done)
        paragraphs.append("".join(f"{sentence}\n" for sentence in said))
    check_samples(historian.read(), asset.channel)
    return (
        as_text(historian.read()),
        as_text(historian.read_quarantine()),
        "\n".join(paragraphs).replace(str(folder), "PLANT"),
    )


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_dirt_becomes(case: Path, tmp_path: Path) -> None:
    samples, quarantine, said = run_case(case, tmp_path)
    assert said == (case / "expected.txt").read_text(encoding="utf-8")
    assert samples == (case / "expected.csv").read_text(encoding="utf-8")
    assert quarantine == (case / "expected_quarantine.csv").read_text(encoding="utf-8")
