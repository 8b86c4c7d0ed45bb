from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from features.datasets.errors import DatasetError
from features.datasets.skab import CHANNELS, COLUMNS, GROUPS, load_skab
from features.schema import check_samples

START = datetime(2020, 3, 9, 10, 0, 0)  # noqa: DTZ001 - the files have no zone
HEADER = ["datetime", *COLUMNS, "anomaly", "changepoint"]


def write_run(path: Path, *, rows: int = 6, header: list[str] = HEADER, cell: str = "") -> None:
    """A run whose last two rows are anomalous; ``cell`` replaces the first value of row 1."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [";".join(header)]
    for row in range(rows):
        values = [f"{row + channel / 10:g}" for channel in range(len(COLUMNS))]
        if row == 1 and cell:
            values[0] = cell
        labels = ["1.0" if row >= rows - 2 else "0.0", "1.0" if row == rows - 2 else "0.0"]
        lines.append(";".join([str(START + timedelta(seconds=row)), *values, *labels]))
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("valve1/10", "valve1/2", "valve2/0", "other/1"):
        write_run(tmp_path / f"{name}.csv")
    return tmp_path


def test_runs_come_by_group_and_number(folder: Path) -> None:
    assert [run.name for run in load_skab(folder)] == [
        "valve1/2",
        "valve1/10",
        "valve2/0",
        "other/1",
    ]


def test_samples_are_in_our_schema_and_labels_stand_beside_them(folder: Path) -> None:
    run = load_skab(folder)[0]
    check_samples(run.samples, CHANNELS)
    assert run.samples.width == 1 + 8
    assert run.samples["time"][0] == START.replace(tzinfo=UTC)
    assert run.samples["accelerometer_1_rms"].to_list() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert run.samples["volume_flow_rate_rms"][0] == pytest.approx(0.7)
    assert run.anomaly.tolist() == [False] * 4 + [True] * 2
    assert run.changepoint.tolist() == [False] * 4 + [True, False]


def test_a_value_that_is_missing_is_null(folder: Path) -> None:
    write_run(folder / "other" / "1.csv", cell="nan")
    assert load_skab(folder)[-1].samples["accelerometer_1_rms"].to_list()[:3] == [0.0, None, 2.0]


@pytest.mark.parametrize("group", GROUPS)
def test_a_missing_group_is_named(folder: Path, group: str) -> None:
    for file in (folder / group).glob("*.csv"):
        file.unlink()
    with pytest.raises(DatasetError, match=rf"has no {group}/\*\.csv; name the `data` folder"):
        load_skab(folder)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"header": ["when", *HEADER[1:]]}, "datetime"),
        ({"cell": "broken"}, "broken"),
        ({"cell": "inf"}, "accelerometer_1_rms"),
    ],
)
def test_a_file_of_another_form_is_named(
    folder: Path, changes: dict[str, str], reason: str
) -> None:
    write_run(folder / "other" / "1.csv", **changes)  # type: ignore[arg-type]
    with pytest.raises(DatasetError, match=rf"1\.csv' is not a run of the benchmark: .*{reason}"):
        load_skab(folder)


def test_an_empty_file_is_named(folder: Path) -> None:
    (folder / "other" / "1.csv").write_text("")
    with pytest.raises(DatasetError, match="is not a run of the benchmark"):
        load_skab(folder)


def test_a_row_without_a_label_is_refused(folder: Path) -> None:
    path = folder / "other" / "1.csv"
    path.write_text(path.read_text().replace("0.0;0.0", ";0.0", 1))
    with pytest.raises(DatasetError, match="has rows without a label"):
        load_skab(folder)
