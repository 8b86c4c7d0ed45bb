import pytest

from features.wording import LONGEST_NAME, as_shown


@pytest.mark.parametrize("text", ["flow", "Druck °C", "", "x" * LONGEST_NAME])
def test_a_printable_name_is_shown_as_it_is(text: str) -> None:
    assert as_shown(text) == text


def test_what_would_move_the_cursor_or_end_the_line_is_replaced() -> None:
    assert as_shown("\x1b[2Jflow\r\n\x9b\u2028") == "�[2Jflow����"


def test_a_long_text_is_cut_and_says_so() -> None:
    assert as_shown("x" * 5_000) == "x" * LONGEST_NAME + "…"
