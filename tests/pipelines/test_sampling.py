import gzip
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipelines import file_blocks, sampling
from pipelines.data_files import InitError, find_data
from pipelines.sampling import sample_files

START = datetime(2026, 1, 20, tzinfo=UTC)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(count: int = 60, *, start: int = 0, form: str = "%Y-%m-%d %H:%M:%S") -> list[list[str]]:
    chance = random.Random(start)  # noqa: S311 - noise, not a secret
    return [
        [
            (START + timedelta(minutes=start + place)).strftime(form),
            f"{chance.gauss(50, 5):.2f}",
            f"{chance.gauss(3, 1):.2f}",
        ]
        for place in range(count)
    ]


def text(
    body: Sequence[Sequence[str]],
    header: Sequence[str] = ("time", "flow", "level"),
    separator: str = ",",
    decimal: str = ".",
) -> str:
    lines = [separator.join(field for field in row) for row in body]
    if decimal == ",":
        lines = [
            separator.join([row[0], *(field.replace(".", ",") for field in row[1:])])
            for row in body
        ]
    return "\n".join([*([separator.join(header)] if header else []), *lines, ""])


def write(path: str, content: str, encoding: str = "utf-8") -> Path:
    place = Path(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(content, encoding=encoding)
    return place


@pytest.mark.parametrize(
    ("data", "count"),
    [
        (["*.csv"], 3),
        (["a?.csv"], 2),
        (["a1.csv"], 1),
        (["a1.csv", "a2.csv"], 2),
        (["a1.csv", "b1.csv", "sub/x [1].csv"], 4),
        (["sub"], 1),
        (["sub/x [1].csv"], 1),
    ],
)
def test_the_glob_matches_exactly_the_files(data: list[str], count: int) -> None:
    for name in ("a1.csv", "a2.csv", "b1.csv", "sub/x [1].csv"):
        write(name, "x")
    if count == 4:
        data = [*data, "a2.csv"]
    Path("elsewhere/deep").mkdir(parents=True)
    for beside in (Path(), Path("elsewhere/deep"), Path("/")):
        found = find_data(data, beside=beside)
        assert len(found.paths) == count
        assert found.pattern.startswith("/") is (beside == Path("/"))


def test_files_that_no_glob_tells_from_others_are_refused() -> None:
    for name in ("a.csv", "b.csv", "c.csv"):
        write(name, "x")
    with pytest.raises(InitError, match="no single glob matches exactly these 2 files"):
        find_data(["a.csv", "c.csv"], beside=Path())


def test_files_of_two_kinds_are_refused() -> None:
    write("runs/a.csv", text(rows()))
    write("runs/b.csv", text(rows(), separator=";"))
    with pytest.raises(InitError, match=r"'a\.csv' has separator ',', but 'b\.csv' has ';'"):
        sample_files(find_data(["runs"], beside=Path()).paths)


def test_large_files_are_sampled_from_three_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MOST_BYTES", 8_000)
    monkeypatch.setattr(sampling, "LEAST_BYTES", 1_000)
    for encoding in ("utf-8", "utf-16"):
        body = rows(20_000)
        path = write("pump.csv", text(body), encoding).absolute()
        parquet_path = Path("pump.parquet").absolute()
        pl.read_csv(text(body).encode()).write_parquet(parquet_path)
        for one in (path, parquet_path):
            sampled = sample_files([one], most_rows=300)
            assert 250 <= sum(piece.rows.height for piece in sampled.pieces) <= 300
            times = [piece.rows["time"] for piece in sampled.pieces]
            assert len(times) == 3
            assert times[0][0] == body[0][0]
            assert times[-1][-1] == body[-1][0]
            assert times[0][-1] < times[1][0] < times[1][-1] < times[2][0]


def test_few_rows_of_many_bytes_are_cut_to_the_most_rows() -> None:
    path = write("pump.csv", text(rows(1_000))).absolute()
    sampled = sample_files([path], most_rows=300)
    assert [piece.rows.height for piece in sampled.pieces] == [100, 100, 100]
    assert sampled.pieces[-1].rows["time"][-1] == rows(1_000)[-1][0]


def test_a_long_header_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "HEAD", 100)
    names = [f"sensor_{place}" for place in range(200)]
    body = [[at, *(value for _ in names)] for at, value, _ in rows(15)]
    write("wide.csv", text(body, ("time", *names)))
    sampled = sample_files([Path("wide.csv").absolute()])
    assert [piece.rows.shape for piece in sampled.pieces] == [(15, 201)]


def test_a_packed_file_that_is_large_is_sampled_from_its_beginning(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(file_blocks, "SMALL_GZIP", 10)
    monkeypatch.setattr(file_blocks, "LONGEST_HEAD", 65_536)
    packed = Path("pump.csv.gz")
    packed.write_bytes(gzip.compress(text(rows(9_000)).encode()))
    sampled = sample_files([packed.absolute()])
    assert sampled.pieces[-1].rows["time"][-1] < rows(9_000)[-1][0]


def test_of_very_many_files_some_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "MOST_HEADS", 4)
    for place in range(9):
        write(f"runs/{place}.csv", text(rows(20, start=place * 100)))
    sampled = sample_files(find_data(["runs"], beside=Path()).paths)
    assert sampled.remarks[0].text == "of 9 files the columns of 4 were looked at"
