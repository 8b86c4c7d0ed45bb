import gzip
import math
import random
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from features.channels import Channel
from features.first_look.pieces import InspectionError
from pipelines.cli import main
from pipelines.config import AssetConfig, load_asset
from pipelines.data_files import InitError, find_data
from pipelines.historian import Historian
from pipelines.ingest import ingest_asset
from pipelines.init import Made, init_files, make_id
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


def made(*data: str, **options: str) -> tuple[AssetConfig, Made]:
    done = init_files(data, **options)  # type: ignore[arg-type]
    return load_asset(done.path), done


def assert_ingests(asset: AssetConfig, count: int) -> None:
    """All rows of the data become samples, with no edit of the file."""
    ingested = ingest_asset(asset, Historian("historian", asset.asset.id, asset.channel))
    assert ingested.failures == ()
    assert (ingested.counts.rows, ingested.counts.quarantined) == (count, 0)


@pytest.mark.parametrize(
    ("content", "encoding", "options"),
    [
        (text(rows()), "utf-8", {}),
        (text(rows(), separator=";", decimal=","), "utf-8", {"separator": ";", "decimal": ","}),
        (text(rows(), separator="\t"), "utf-8", {"separator": "\t"}),
        (text(rows(), separator="|"), "utf-8", {"separator": "|"}),
        (text(rows(), ("time", "flow", "Größe")), "utf-8", {}),
        (text(rows(), ("time", "flow", "Größe")), "utf-8-sig", {}),
        (text(rows(), ("time", "flow", "Größe")), "utf-16", {"encoding": "utf-16"}),
        (text(rows(), ("time", "flow", "Größe")), "cp1252", {"encoding": "cp1252"}),
        (text(rows(), ()), "utf-8", {"header": False, "time": "column_1"}),
        (
            text(rows(form="%d.%m.%Y %H:%M"), ("Zeit", "a", "b")),
            "utf-8",
            {"time": "Zeit", "time_format": "%d.%m.%Y %H:%M"},
        ),
        (
            text(rows(form="%m/%d/%Y %I:%M:%S %p")),
            "utf-8",
            {"time_format": "%m/%d/%Y %I:%M:%S %p"},
        ),
        (
            text(rows(form="%Y-%m-%d-%H-%M-%S"), ("Timestamp", "a", "b")),
            "utf-8",
            {"time": "Timestamp", "time_format": "%Y-%m-%d-%H-%M-%S"},
        ),
        (text(rows(form="%s000")), "utf-8", {"time_format": "epoch_ms", "time_zone": None}),
        (text(rows(form="%Y-%m-%dT%H:%M:%SZ")), "utf-8", {"time_zone": None}),
    ],
)
def test_what_is_written_in_any_way_is_read_with_no_edit(
    content: str, encoding: str, options: dict[str, object]
) -> None:
    write("pump_07.csv", content, encoding)
    asset, done = made("pump_07.csv")
    default = {
        "separator": ",",
        "decimal": ".",
        "encoding": "utf-8",
        "header": True,
        "time": "time",
        "time_format": "iso",
        "time_zone": "UTC",
    }
    found = {name: getattr(asset.source, name) for name in default}
    assert found == {**default, **options}
    assert done.path == Path("pump_07.toml")
    assert asset.asset.id == "pump_07"
    assert [channel.kind for channel in asset.channel] == ["continuous"] * 2
    assert asset.window.sample_period_s == 60.0
    assert asset.alarm.enabled is False
    assert_ingests(asset, 60)


def parquet(path: Path, *, zone: str | None) -> None:
    at = [START + timedelta(seconds=10 * place) for place in range(60)]
    times = pl.Series(at).dt.replace_time_zone(zone)
    values = [float(place % 7) ** 1.5 for place in range(60)]
    pl.DataFrame({"at": times, "flow": values}).write_parquet(path)


@pytest.mark.parametrize(("zone", "written"), [("UTC", None), (None, "UTC")])
def test_parquet_is_read_with_no_edit(zone: str | None, written: str | None) -> None:
    parquet(Path("pump.parquet"), zone=zone)
    asset, _ = made("pump.parquet")
    assert (asset.source.time, asset.source.time_zone) == ("at", written)
    assert asset.window.sample_period_s == 10.0
    assert_ingests(asset, 60)


def test_a_packed_file_is_read_with_no_edit() -> None:
    Path("pump.csv.gz").write_bytes(gzip.compress(text(rows()).encode()))
    asset, done = made("pump.csv.gz")
    assert done.path.name == "pump.toml"
    assert_ingests(asset, 60)


def test_a_packed_file_that_is_cut_is_sampled_as_far_as_it_is_whole() -> None:
    packed = gzip.compress(text(rows(6_000)).encode())
    Path("pump.csv.gz").write_bytes(packed[: len(packed) // 2])
    assert len(made("pump.csv.gz")[0].channel) == 2


def test_a_long_table_is_read_with_no_edit() -> None:
    body = [
        [at, tag, value, quality]
        for at, first, second in rows(form="%d.%m.%Y %H:%M:%S")
        for tag, value, quality in (("FT-101", first, "Good"), ("ns=2;s=PT", second, "Bad"))
    ]
    body += [
        [at, "ns=2;s=PT", "4,5", "good"] for at, *_ in rows(40, start=90, form="%d.%m.%Y %H:%M:%S")
    ]
    header = ("Zeitstempel", "Tag", "Wert", "Quality")
    quoted = [[row[0], f'"{row[1]}"', *row[2:]] for row in body]
    write("scada.csv", text(quoted, header, ";", ","))
    asset, _ = made("scada.csv")
    source = asset.source
    assert (source.layout, source.tag, source.value) == ("long", "Tag", "Wert")
    assert (source.quality, source.good_quality) == ("Quality", ("good", "192"))
    assert [channel.tag for channel in asset.channel] == ["FT-101", "ns=2;s=PT"]
    assert_ingests(asset, 160)


def test_a_folder_gives_all_files_below_and_no_others() -> None:
    for place in range(3):
        write(f"runs/part{place % 2}/{place}.csv", text(rows(start=place * 100)))
    write("runs/README.md", "words")
    asset, done = made("runs")
    assert done.path.name == "runs.toml"
    assert Path(asset.source.files or "").as_posix().endswith("/runs/**/*.csv")
    assert "1 other files are neither CSV nor Parquet" in done.path.read_text(encoding="utf-8")
    assert_ingests(asset, 180)


def test_one_folder_a_component_is_told() -> None:
    for part in ("motor", "seal"):
        body = rows(form="%Y-%m-%d %H:%M:%S")
        write(f"plant/{part}/{part}.csv", text(body, ("Timestamp", "Speed", "Temp")))
    asset, _ = made("plant")
    assert (asset.source.columns, asset.source.partial) == ("by_folder", True)
    assert [channel.tag for channel in asset.channel] == [
        "motor/Speed",
        "motor/Temp",
        "seal/Speed",
        "seal/Temp",
    ]
    assert_ingests(asset, 120)


def test_columns_that_only_an_unsampled_file_would_have_are_found() -> None:
    for place in range(25):
        header = ("time", "flow", "extra" if place == 17 else "level")
        write(f"runs/{place:02}.csv", text(rows(20, start=place * 100), header))
    asset, _ = made("runs")
    assert asset.source.partial is True
    assert {channel.name for channel in asset.channel} == {"flow", "level", "extra"}
    sampled = sample_files(find_data(["runs"], beside=Path()).paths)
    assert 15 < sampled.files <= 20


def test_the_asset_file_can_lie_elsewhere() -> None:
    write("data/pump.csv", text(rows()))
    Path("assets").mkdir()
    asset, done = made("data/*.csv", out=Path("assets/p.toml"), asset_id="pump_07")  # type: ignore[arg-type]
    assert 'files = "../data/*.csv"' in done.path.read_text(encoding="utf-8")
    assert asset.asset.id == "pump_07"
    assert_ingests(asset, 60)


def test_units_kinds_and_names_are_in_the_file() -> None:
    chance, total = random.Random(1), 0.0  # noqa: S311 - noise, not a secret
    lines = ["time;Druck [bar];FIC1.PV;FIC1.SP;läuft;Energie (kWh);fest;anomaly;Notiz"]
    for place in range(600):
        total += chance.random()
        wanted = 10 if place < 300 else 14
        lines.append(
            f"{START + timedelta(minutes=place):%Y-%m-%d %H:%M};{chance.gauss(5, 1):.3f};"
            f"{wanted + chance.gauss(0, 0.1):.3f};{wanted};{place // 100 % 2};{total:.3f};7;0;x"
        )
    write("anlage.csv", "\n".join(lines))
    asset, done = made("anlage.csv")
    kinds = {channel.name: channel.kind for channel in asset.channel}
    assert kinds == {
        "Druck": "continuous",
        "FIC1_PV": "continuous",
        "FIC1_SP": "discrete",
        "laeuft": "discrete",
        "Energie": "counter",
        "fest": "continuous",
    }
    assert asset.channel[0] == Channel(name="Druck", tag="Druck [bar]", unit="bar")
    content = done.path.read_text(encoding="utf-8")
    assert '# follows = "FIC1_SP"  # CHECK: seems to be its set-point' in content
    assert "# constant in the sample" in content
    assert re.search(r'name = "Druck"\n(.+\n)+# range = \[.+\]\n', content)  # a suggestion
    assert "# CHECK: left out, since it holds text: 'Notiz'" in content
    assert "Left out, since it looks like a label" in done.summary
    assert "follows: 1" in done.summary
    assert_ingests(asset, 600)


def test_checks_stand_beside_their_option_and_in_the_summary() -> None:
    write("pump.csv", text(rows(form="%d.%m.%Y %H:%M"), ("Zeit", "Größe", "b")), "cp1252")
    _, done = made("pump.csv")
    lines = done.path.read_text(encoding="utf-8").splitlines()
    for option in ("time_zone", "encoding", "false_alarms_per_day"):
        place = next(n for n, line in enumerate(lines) if line.startswith(f"{option} ="))
        assert "# CHECK" in "".join(lines[place - 3 : place])
        assert f".{option}: " in done.summary
    assert "the data cover about 0.041 days" in done.summary


def test_a_long_history_says_nothing_of_its_length() -> None:
    write("pump.csv", text([[f"2026-01-{day:02}", "5.5", "3.5"] for day in range(1, 20)]))
    with pytest.raises(InitError, match="there is no folder"):
        made("pump.csv", out=Path("no/p.toml"))  # type: ignore[arg-type]
    body = [[at, f"{math.sin(place):.3f}", "1"] for place, (at, *_) in enumerate(rows(20_000))]
    write("pump.csv", text(body))
    _, done = made("pump.csv")
    assert "budget" not in done.summary


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.csv", b"", "'a.csv' is empty"),
        ("a.csv", b" \n\n", "'a.csv' is empty"),
        ("a.csv", b"time,flow\n", "'a.csv' has no rows"),
        ("a.csv", b"\x00\x01\x02\n", "'a.csv' is no text"),
        ("a.csv", b"one\n1\n2\n", "'a.csv' begins with the line 'one', but no separator"),
        ("a.csv", b"x,y\n1,2\n3,4\n", "no column of a.csv holds times; it has 'x', 'y'"),
        ("a.csv", b"time,x\n2026-01-01,on\n2026-01-02,off\n", "a.csv has no column of numbers"),
        ("a.csv.gz", b"time,flow\n", "'a.csv.gz' has no rows"),
        ("a.csv.gz", b"\x1f\x8brubbish", "'a.csv.gz' cannot be read"),
        ("a.parquet", b"rubbish", "'a.parquet' cannot be read"),
        ("a.json", b"{}", "'a.json' is neither CSV"),
        ("sub/a.json", b"{}", "'a.json' is not there"),
    ],
)
def test_rubbish_gets_one_sentence_and_no_file(
    name: str, content: bytes, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("sub").mkdir()
    Path(name).write_bytes(content)
    assert main(["init", Path(name).name]) == 2
    said = capsys.readouterr().err
    assert said.startswith("faultwatch: ")
    assert sentence in said
    assert len(said.splitlines()) == 1
    assert not list(Path().glob("*.toml"))


def test_empty_files_among_others_are_told() -> None:
    write("runs/a.csv", text(rows()))
    write("runs/b.csv", "")
    asset, done = made("runs")
    assert "1 of the files are empty" in done.summary
    assert_ingests(asset, 60)


def test_a_file_that_is_there_is_never_overwritten() -> None:
    write("pump.csv", text(rows()))
    write("pump.toml", "mine")
    with pytest.raises(InitError, match=r"'pump.toml' is there already; remove it, or write"):
        made("pump.csv")
    assert Path("pump.toml").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Pumpe 7.csv", "pumpe_7"),
        ("7.csv.gz", "asset_7"),
        ("größe.parquet", "groe"),
        ("日本.csv", "asset"),
        ("plant/*/*.csv", "plant"),
        ("x" * 99 + ".csv", "x" * 64),
    ],
)
def test_an_id_is_made_from_the_name(name: str, expected: str) -> None:
    assert make_id(name) == expected


def test_an_id_that_cannot_be_is_refused() -> None:
    write("pump.csv", text(rows()))
    with pytest.raises(InitError, match="--id is 'Pump 7', expected a small letter"):
        made("pump.csv", asset_id="Pump 7")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "name files, folders or globs of samples, or a query with --sql, not both"),
        (["a.csv", "--sql", "SELECT 1"], "not both"),
        (["nothing.csv"], "'nothing.csv' is not there, or has no files"),
        (["nothing/*.csv"], "'nothing/*.csv' is not there, or has no files"),
    ],
)
def test_a_call_that_cannot_be_is_answered_with_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", *arguments]) == 2
    assert sentence in capsys.readouterr().err


def test_the_verb_says_what_it_found_and_what_comes_next(
    capsys: pytest.CaptureFixture[str],
) -> None:
    write("pump.csv", text(rows(), ("when", "flow", "level")))
    assert main(["init", "pump.csv", "--time", "when", "--out", "p.toml", "--id", "p7"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("p.toml: 2 channels (2 continuous) from 'pump.csv'")
    assert said.endswith("Next: faultwatch ingest p.toml\n")
    with pytest.raises(InspectionError, match="cannot be read as a time"):
        made("pump.csv", time="flow")
