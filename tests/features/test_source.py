import pytest
from pydantic import ValidationError

from features.source import SourceConfig


def config(**options: object) -> SourceConfig:
    return SourceConfig.model_validate({"files": "*.csv", **options})


def test_a_source_is_files_or_a_query() -> None:
    assert config().files == "*.csv"
    assert config(files=None, sql="SELECT 1").sql == "SELECT 1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"files": None}, "needs either files or sql"),
        ({"sql": "SELECT 1"}, "needs either files or sql"),
        ({"decimal": ","}, "separator and decimal are both ','"),
        ({"layout": "long", "tag": "time"}, "name one column twice: time, time, value"),
        (
            {"layout": "long", "quality": "value"},
            "name one column twice: time, tag, value, value",
        ),
        ({"time_zone": "Berlin"}, "time_zone = 'Berlin' is no zone; write one such as"),
        ({"time_zone": ""}, "time_zone = '' is no zone"),
        ({"time_zone": "../zones"}, "time_zone = '../zones' is no zone"),
        ({"encoding": "idna"}, "encoding = 'idna' is not known; write one such as 'utf-8'"),
        ({"encoding": "utf-9"}, "encoding = 'utf-9' is not known; write one such as 'utf-8'"),
        ({"separator": '"'}, "separator = '\"' cannot part fields; write ','"),
        ({"separator": "\n"}, r"separator = '\\n' cannot part fields"),
        ({"separator": "x"}, "separator = 'x' cannot part fields"),
        ({"separator": "§"}, "separator = '§' cannot part fields"),
        ({"separator": ",,"}, "at most 1 character"),
        ({"separator": ""}, "at least 1 character"),
        ({"overlap_s": -1}, "greater than or equal to 0"),
        ({"fold": "both"}, "'earlier' or 'later'"),
        ({"delimiter": ";"}, "Extra inputs are not permitted"),
        ({"time_format": "epoch"}, "time_format = 'epoch' reads no whole time; write iso, epoch_s"),
        ({"time_format": "%H:%M"}, "time_format = '%H:%M' reads no whole time"),
        ({"time_format": "%s"}, "time_format = '%s' counts seconds since 1970; write epoch_s"),
    ],
)
def test_a_wrong_option_is_answered_with_a_sentence(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        config(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"separator": "\t"},
        {"separator": ";", "decimal": ","},
        {"separator": " "},
        {"time_zone": "Europe/Berlin", "fold": "later"},
        {"encoding": "cp1252"},
        {"time_format": "epoch_ns"},
        {"time_format": "%d.%m.%Y %H:%M:%S"},
        {"layout": "long", "time": "t", "tag": "n", "value": "v", "quality": "q"},
        {"tag": "time"},  # of no meaning in the wide layout
    ],
)
def test_what_plants_write_is_accepted(options: dict[str, object]) -> None:
    found = config(**options)
    assert {name: getattr(found, name) for name in options} == options


@pytest.mark.parametrize(
    "options",
    [
        {"time": "at"},
        {"time_format": "epoch_s"},
        {"time_zone": "UTC"},
        {"fold": "later"},
        {"decimal": ",", "separator": ";"},
        {"layout": "long"},
    ],
)
def test_how_times_and_values_are_written_is_the_meaning(options: dict[str, object]) -> None:
    assert config(**options).meaning != config().meaning


def test_where_rows_lie_is_no_meaning() -> None:
    there = config(files="other/*.csv", encoding="cp1252", separator=";", partial=True, tag="n")
    assert there.meaning == config().meaning
    assert config(layout="long", tag="n").meaning != config(layout="long").meaning
    assert config(layout="long", value="v").meaning != config(layout="long").meaning
