"""Words of a source inside our sentences: on one line, printable, and not longer than a line."""

import re

LONGEST_NAME = 60
"""Characters of a name in a sentence."""
UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def as_shown(text: str, most: int = LONGEST_NAME) -> str:
    r"""A text that someone else wrote, as it can stand in a sentence.

    Args:
        text: such as the name of a column.
        most: characters of it.

    Example:
        >>> as_shown("flow\x00") == "flow\ufffd", as_shown("temperature", most=5) == "tempe\u2026"
        (True, True)
    """
    shown = UNPRINTABLE.sub("\ufffd", text[: most + 1])
    return shown if len(shown) <= most else f"{shown[:most]}\u2026"
