import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from threading import Thread

import pytest

from features.channels import Channel
from features.grid import WindowConfig
from features.labels import Interval, LabelError
from features.source import SourceConfig
from pipelines.cli import main
from pipelines.config import AssetConfig, AssetInfo
from pipelines.labelling import (
    Label,
    Verdict,
    counted_intervals,
    label_interval,
    label_rows,
    print_labels,
    read_labels,
)
from pipelines.settings import Settings

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
FILED = "start,end,kind,note\n2026-01-01T00:00:00Z,2026-01-01T01:00:00Z,fault,leak\n"
ASSET = """
[asset]
id = "pump"
[source]
files = "*.csv"
labels = "labels.csv"
[[channel]]
name = "flow"
[window]
sample_period_s = 60.0
"""

Say = Callable[..., bool]


def make_asset(labels: Path | None = None) -> AssetConfig:
    return AssetConfig(
        asset=AssetInfo(id="pump"),
        source=SourceConfig(files="*.csv", labels=str(labels) if labels else None),
        channel=(Channel(name="flow"),),
        window=WindowConfig(sample_period_s=60.0),
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


@pytest.fixture
def say(settings: Settings) -> Say:
    """Anna says of the first hour, or of a later one, what it was."""

    def say(
        verdict: Verdict, minute: int = 0, hour: int = 0, by: str = "anna", note: str = ""
    ) -> bool:
        start, at = START + hour * HOUR, START + timedelta(days=1, minutes=minute)
        asset = make_asset()
        return label_interval(
            asset, settings, start, start + HOUR, verdict, by=by, note=note, at=at
        )

    return say


def verdicts(settings: Settings) -> list[str]:
    return [label.verdict for label in read_labels(make_asset(), settings)]


def counted(settings: Settings) -> list[str]:
    return [one.kind for one in counted_intervals(read_labels(make_asset(), settings))]


def test_what_is_said_is_kept_as_it_was_said(settings: Settings, say: Say) -> None:
    assert say("true_fault", note="seal; as in March")
    assert read_labels(make_asset(), settings) == [
        Label(
            START,
            START + HOUR,
            "true_fault",
            "anna",
            "seal; as in March",
            START + timedelta(days=1),
        )
    ]


def test_times_of_any_offset_are_kept_as_the_same_instants(settings: Settings) -> None:
    start = START.astimezone(timezone(2 * HOUR))
    for begin in (start, START):
        label_interval(
            make_asset(), settings, begin, start + HOUR, "nuisance", by="bo", note="", at=START
        )
    (label,) = read_labels(make_asset(), settings)
    assert label.start == START


def test_saying_the_same_again_adds_nothing(settings: Settings, say: Say) -> None:
    assert say("nuisance")
    assert not say("nuisance", minute=5)
    assert say("nuisance", minute=6, by="bo")
    assert say("nuisance", minute=7, note="washed")
    assert not say("nuisance", minute=8)
    assert len(verdicts(settings)) == 3


def test_the_last_verdict_on_a_stretch_counts_and_all_are_kept(
    settings: Settings, say: Say
) -> None:
    say("true_fault")
    assert counted(settings) == ["true_fault"]
    say("nuisance", minute=1, by="bo")
    assert counted(settings) == ["nuisance"]
    assert verdicts(settings) == ["true_fault", "nuisance"]


def test_whoever_insists_is_heard_again(settings: Settings, say: Say) -> None:
    say("true_fault")
    say("nuisance", minute=1, by="bo")
    assert say("true_fault", minute=2)
    assert not say("true_fault", minute=3)
    assert counted(settings) == ["true_fault"]


def test_a_nuisance_in_a_part_of_a_fault_takes_nothing_back() -> None:
    fault = Label(START, START + 3 * HOUR, "true_fault", "anna", "", START)
    nuisance = Label(START, START + HOUR, "nuisance", "anna", "", START)
    assert counted_intervals([fault, nuisance]) == (fault.interval, nuisance.interval)


def test_labels_of_the_interval_file_stand_first(
    tmp_path: Path, settings: Settings, say: Say
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(FILED)
    say("maintenance", hour=1)
    filed, said = read_labels(make_asset(path), settings)
    assert (filed.verdict, filed.by, filed.note, filed.at) == ("fault", "labels.csv", "leak", None)
    assert said.verdict == "maintenance"
    assert counted_intervals([filed, said]) == (filed.interval, said.interval)


def test_what_is_said_of_a_stretch_overrules_the_interval_file(
    tmp_path: Path, settings: Settings, say: Say
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(FILED)
    say("nuisance", note="was being washed")
    assert counted_intervals(read_labels(make_asset(path), settings)) == (
        Interval(START, START + HOUR, "nuisance", "was being washed"),
    )


def test_local_times_of_the_interval_file_are_of_the_sources_zone(
    tmp_path: Path, settings: Settings
) -> None:
    path = tmp_path / "labels.csv"
    path.write_text("2026-01-01 01:00,2026-01-01 02:00\n")
    asset = make_asset(path)
    source = asset.source.model_copy(update={"time_zone": "Europe/Berlin"})
    (label,) = read_labels(asset.model_copy(update={"source": source}), settings)
    assert label.start == START


def test_a_stretch_that_ends_before_it_starts_is_refused(settings: Settings) -> None:
    with pytest.raises(LabelError, match="pump: start 2026-01-01T01:00:00Z is not before end 2026"):
        label_interval(
            make_asset(), settings, START + HOUR, START, "nuisance", by="bo", note="", at=START
        )
    assert verdicts(settings) == []


def test_one_person_in_two_threads_says_it_once(settings: Settings, say: Say) -> None:
    def speak() -> None:
        for hour in range(5):
            say("nuisance", hour=hour)

    threads = [Thread(target=speak) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts(settings) == ["nuisance"] * 5


def test_the_list_for_people_shows_every_word(capsys: pytest.CaptureFixture[str]) -> None:
    label = Label(START, START + HOUR, "nuisance", "anna", "valve [red] washed", START)
    print_labels([label, replace(label, at=None, by="labels.csv")])
    shown = capsys.readouterr().out
    for words in ("2026-01-01T01:00:00Z", "nuisance", "valve [red] washed", "labels.csv"):
        assert words in shown


def test_a_list_of_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    print_labels([])
    assert capsys.readouterr().out == "Nobody has labelled anything yet.\n"


def test_the_list_for_machines_has_one_object_a_label() -> None:
    assert label_rows([Label(START, START + HOUR, "fault", "labels.csv", "leak", None)]) == [
        {
            "start": "2026-01-01T00:00:00Z",
            "end": "2026-01-01T01:00:00Z",
            "verdict": "fault",
            "by": "labels.csv",
            "note": "leak",
            "at": None,
        }
    ]


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An asset file with an interval file; what is said is kept beside it."""
    monkeypatch.setenv("FAULTWATCH_HOME", str(tmp_path / "home"))
    (tmp_path / "labels.csv").write_text(FILED)
    (tmp_path / "pump.toml").write_text(ASSET)
    return str(tmp_path / "pump.toml")


def test_the_command_line_labels_and_lists(plant: str, capsys: pytest.CaptureFixture[str]) -> None:
    stretch = [plant, "2026-01-02T08:00:00+01:00", "2026-01-02T09:00:00Z"]
    said = ["label", *stretch, "--verdict", "maintenance", "--by", "anna", "--note", "new seal"]
    assert main(said) == 0
    assert main(said) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Kept; the next training heeds it.",
        "That is known already.",
    ]
    assert main(["labels", plant, "--json"]) == 0
    filed, label = json.loads(capsys.readouterr().out)
    assert filed["by"] == "labels.csv"
    assert (label["start"], label["note"]) == ("2026-01-02T07:00:00Z", "new seal")
    assert datetime.fromisoformat(label["at"]).utcoffset() == timedelta()
    assert main(["labels", plant]) == 0
    assert "new seal" in capsys.readouterr().out


def test_the_command_line_answers_a_time_without_an_offset_with_a_sentence(
    plant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    stretch = ["2026-01-02T08:00:00", "2026-01-02T09:00:00Z"]
    assert main(["label", plant, *stretch, "--verdict", "nuisance"]) == 2
    assert capsys.readouterr().err == (
        "faultwatch: FROM is '2026-01-02T08:00:00', which has no time zone; write an offset or Z\n"
    )


PERSON = """
import sys
from pipelines.cli import main
asset, by = sys.argv[1:]
for hour in range(5):
    stretch = [f"2026-01-02T0{hour}:00:00Z", f"2026-01-02T0{hour + 1}:00:00Z"]
    assert main(["label", asset, *stretch, "--verdict", "maintenance", "--by", by]) == 0
"""


def test_two_processes_that_label_at_once_lose_nothing(plant: str) -> None:
    people = [
        subprocess.Popen([sys.executable, "-c", PERSON, plant, by])  # noqa: S603 - our own words
        for by in ("anna", "bo")
    ]
    assert [person.wait(timeout=60) for person in people] == [0, 0]
    said = read_labels(make_asset(), Settings())
    assert sorted((label.by, label.start.hour) for label in said) == [
        (by, hour) for by in ("anna", "bo") for hour in range(5)
    ]
