import io
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features import blocks
from features.blocks import Block, read_blocks

texts = st.text(st.sampled_from('ab",\r\n'), max_size=60).map(str.encode)


def cut(
    data: bytes, *, most_lines: int = 3, block_bytes: int = 10_000, place: int = 0, line: int = 1
) -> list[Block]:
    return list(cut_stream(io.BytesIO(data).read, most_lines, block_bytes, place, line))


def cut_stream(
    read: Callable[[int], bytes], most_lines: int, block_bytes: int, place: int, line: int
) -> list[Block]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", block_bytes)
        return list(read_blocks(read, place=place, line=line, most_lines=most_lines))


def in_pieces(data: bytes, sizes: list[int]) -> Callable[[int], bytes]:
    """A stream that gives no more at once than it likes."""
    stream, left = io.BytesIO(data), iter(sizes)
    return lambda most: stream.read(max(1, min(most, next(left, most))))


@given(texts, st.integers(1, 5), st.integers(1, 40), st.lists(st.integers(1, 9)))
def test_blocks_are_the_text_again_and_bounded(
    data: bytes, most_lines: int, block_bytes: int, sizes: list[int]
) -> None:
    found = cut_stream(in_pieces(data, sizes), most_lines, block_bytes, 100, 7)
    assert b"".join(block.data for block in found) == data
    assert all(block.data for block in found)
    place, line = 100, 7
    for block in found:
        place += len(block.data)
        assert (block.place, block.first_line) == (place, line)
        assert 1 <= block.lines <= most_lines
        assert len(block.data) <= 2 * block_bytes
        line += block.lines
    assert [block.is_last for block in found] == [False] * (len(found) - 1) + [True] * bool(found)


@given(texts, st.integers(1, 5), st.integers(60, 90))
def test_lines_are_whole_and_counted_in_a_text_of_short_lines(
    data: bytes, most_lines: int, block_bytes: int
) -> None:
    found = cut(data, most_lines=most_lines, block_bytes=block_bytes)
    assert not any(block.is_open for block in found[:-1])
    for block in found:
        before = data[: block.place - len(block.data)]
        assert block.first_line == 1 + before.count(b"\n")
        assert block.lines == block.data.count(b"\n") + block.is_open


@given(texts, st.integers(1, 5))
def test_the_last_line_begins_behind_the_line_end_before_it(data: bytes, most_lines: int) -> None:
    for block in cut(data, most_lines=most_lines):
        last = data[block.last_line_begins : block.place]
        assert last
        assert b"\n" not in last.removesuffix(b"\n")
        assert block.last_line_begins == 0 or data[block.last_line_begins - 1 :][:1] == b"\n"


def test_a_text_without_bytes_has_no_block() -> None:
    assert cut(b"") == []


def test_a_last_line_without_an_end_is_open() -> None:
    (whole,) = cut(b"1\n2\n")
    (cut_off,) = cut(b"1\n2")
    assert (whole.is_open, whole.last_line_begins, whole.lines) == (False, 2, 2)
    assert (cut_off.is_open, cut_off.last_line_begins, cut_off.lines) == (True, 2, 2)


quoted_rows = st.lists(
    st.sampled_from([b"1,2\n", b'1,"a"\n', b'1,"a\nb"\n', b'1,"a\n\nb"\n', b'1,"say ""x""\n"\n'])
)


@given(quoted_rows, st.integers(3, 8))
def test_a_quoted_field_stays_whole(rows: list[bytes], most_lines: int) -> None:
    found = cut(b"".join(rows), most_lines=most_lines)
    ends = {len(b"".join(rows[:count])) for count in range(len(rows) + 1)}
    assert {block.place for block in found} <= ends


def test_a_quoted_field_over_more_lines_than_a_block_has_is_cut() -> None:
    found = cut(b'1,"a\nb\nc\nd"\n2,3\n', most_lines=2)
    assert [block.data for block in found] == [b'1,"a\nb\n', b"c\n", b'd"\n2,3\n']


def test_a_quote_that_never_ends_does_not_hold_up_the_lines_behind_it() -> None:
    found = cut(b'1,"a\n' + b"2,3\n" * 9_999, most_lines=2_500, block_bytes=20_000)
    assert [block.lines for block in found] == [2_500] * 4


def test_a_quote_that_never_ends_is_left_to_the_next_block_if_it_is_near() -> None:
    found = cut(b"1,2\n" * 5 + b'3,"a\n' + b"4,5\n" * 4, most_lines=8)
    assert [block.lines for block in found] == [5, 5]


def test_a_line_longer_than_a_block_comes_in_pieces() -> None:
    found = cut(b"x" * 25 + b"\n1\n", block_bytes=10)
    assert [block.data for block in found] == [b"x" * 10, b"x" * 10, b"xxxxx\n1\n"]
