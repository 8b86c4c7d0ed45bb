"""Many pairs of files, and the command line of backtests."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from typing_extensions import override

from pipelines.cli import main
from pipelines.pairs import read_pairs, run_pairs
from pipelines.progress import Told
from pipelines.trial_files import BacktestError
from pipelines.two_files import TrialOptions

AT = datetime(2026, 2, 1, tzinfo=UTC)
ROWS = 1_500
QUICK = TrialOptions(reconstructor="window_pca", far=0.01)


class Notes(Told):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    @override
    def say(self, sentence: str) -> None:
        self.said.append(sentence)


def test_one_failing_series_does_not_stop_the_others(folder: Path, tmp_path: Path) -> None:
    pairs = folder / "pairs.csv"
    lines = [
        "series,train,test,train_rows",
        "gone,nowhere.csv,test.csv,",
        "few,train.csv,test.csv,60",
    ]
    pairs.write_text("\n".join([*lines, "good,train.csv,test.csv,2000", ""]))
    notes = Notes()
    table = run_pairs(read_pairs(pairs), tmp_path, QUICK, labels=None, at=AT, told=notes)
    assert table["series"].to_list() == ["gone", "few", "good"]
    reasons = table["failed"].to_list()
    assert reasons[0].endswith("nowhere.csv' is not there; name a file")
    assert "has 60 rows" in reasons[1]
    assert reasons[2] is None
    assert table["rows"].to_list() == [None, None, ROWS]
    assert pl.read_csv(tmp_path / "summary.csv").height == 3
    assert (tmp_path / "good" / "report.html").is_file()
    assert "2 of 3: few" in notes.said


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("series,train,test\na,b,c\n", r"pairs.csv has no column 'train_rows'; expected series,"),
        ("series,train,test,train_rows\n", r"pairs.csv has no line below its header"),
        ("series,train,test,train_rows\na,b,c,\na,b,c,\n", r"names 'a' twice"),
        ("series,train,test,train_rows\n../a,b,c,\n", r"line 2: series is '../a', expected the"),
        ("series,train,test,train_rows\na,b,c,many\n", r"line 2: train_rows is 'many', expected"),
        ("series,train,test,train_rows\na,b,c,0\n", r"line 2: train_rows is '0', expected a whole"),
        ("series,train,test,train_rows\na,b\n", r"line 2: test is missing"),
    ],
)
def test_a_file_of_pairs_that_cannot_be_used_is_refused(
    tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(BacktestError, match=reason):
        read_pairs(tmp_path / "pairs.csv")


def test_paths_of_pairs_are_seen_from_their_file_or_from_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "a.csv").write_text("")
    (tmp_path / "b.csv").write_text("")
    pairs = tmp_path / "there" / "pairs.csv"
    pairs.write_text("series,train,test,train_rows\none,a.csv,b.csv,\n")
    monkeypatch.chdir(tmp_path)
    (one,) = read_pairs(pairs)
    assert (one.train, one.test) == (tmp_path / "there" / "a.csv", Path("b.csv"))
    with pytest.raises(BacktestError, match=r"cannot be read as CSV"):
        read_pairs(tmp_path / "nowhere.csv")


# --- the command line ----------------------------------------------------------------------------


def test_the_verb_needs_nothing_but_two_files(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FAULTWATCH_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("PREFECT_HOME")
    files = [str(folder / name) for name in ("train.csv", "test.csv")]
    options = [
        "--far",
        "0.01",
        "--reconstructor",
        "pca",
        "--exclude",
        "mood",
        "--train-rows",
        "900",
    ]
    assert main(["backtest", *files, "--out", "out", *options]) == 0
    said = capsys.readouterr()
    assert "The page:    out/report.html" in said.out
    assert "writing the report" in said.err
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # no registry, no server, no state


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "name the files TRAIN and TEST, or many of them with --pairs, not both"),
        (["a.csv", "b.csv", "--pairs", "p.csv"], "not both"),
        (["nowhere.csv", "b.csv"], "'nowhere.csv' is not there; name a file"),
        (["--pairs", "nowhere.csv"], "--pairs nowhere.csv: cannot be read as CSV"),
    ],
)
def test_wrong_arguments_get_one_sentence(
    arguments: list[str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["backtest", *arguments, "--out", "out"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert reason in said[-1]
    assert said[-1].startswith("faultwatch: ")


@pytest.mark.parametrize(
    "option", [["--far", "1"], ["--far", "no"], ["--train-rows", "0"], ["--sample-period-s", "-1"]]
)
def test_numbers_out_of_range_are_refused(
    option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["backtest", "a.csv", "b.csv", "--out", "out", *option])
    assert "is not" in capsys.readouterr().err
