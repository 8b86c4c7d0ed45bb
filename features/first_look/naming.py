"""Channel names and units from the names that signals have at the source; names that pair up."""

import re
import unicodedata
from collections.abc import Iterable, Sequence

from features.channels import RESERVED

LONGEST_NAME = 80
DIAERESIS = "\u0308"
SPELLED = str.maketrans({"ß": "ss", "µ": "u", "°": "deg", "%": "_percent"})
VALID = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
NODE_ID = re.compile(r"^(?:ns=\d+;)?[sigb]=")
UNIT_AT_END = re.compile(r"^(?P<words>.*\S)\s*(?:\[(?P<square>[^\[\]]+)\]|\((?P<round>[^()]+)\))$")
PLAIN = (
    r"(?:%|°[CF]?|deg[CF]?|[CFK]|[mk]?bar[ag]?|[hkM]?Pa|psi[ag]?|m?A|[mk]?V|[kM]?W|kVAr?|[kM]?Wh|"
    r"[kM]?J|k?Hz|rpm|pH|dB|lx|rad|NTU|ppm|ppb|gpm|kscmh|[mcukµ]?m|Nm|[lL]|m[lL]|[mk]?g|t|k?Nm?|"
    r"[muµ]?s|min|h|d|k?mol|vol|wt|[muµ]?S)[23²³]?"
)
UNIT = re.compile(rf"{PLAIN}(?: ?%)?(?:/{PLAIN})?|%\ ?RH|(?:1|U)/(?:min|s|h)|(?:min|s)(?:-1|⁻¹)")
"""What is a unit beyond doubt."""
SET_POINT = re.compile(
    r"[ _.\-/]+(?:sp|set[_ ]?point|setpt|set|soll|sollwert|target|ref|reference|cmd|command)$",
    re.IGNORECASE,
)
MEASURED = re.compile(
    r"[ _.\-/]+(?:pv|act|actual|meas|measured|measurement|is(?:t|twert)|value|val|fbk|feedback)$",
    re.IGNORECASE,
)


def split_unit(column: str) -> tuple[str, str]:
    """Divide ``Flow [m3/h]`` into words and unit; without an obvious unit it is ''.

    Example:
        >>> split_unit("Flow [m3/h]"), split_unit("XMEAS(1)"), split_unit("Druck (bar)")
        (('Flow', 'm3/h'), ('XMEAS(1)', ''), ('Druck', 'bar'))
    """
    found = UNIT_AT_END.match(column.strip())
    if found is None:
        return column, ""
    unit = (found["square"] or found["round"]).strip()
    if UNIT.fullmatch(unit):
        return found["words"], unit
    return column, ""


def name_channels(tags: Sequence[str], *, taken: Iterable[str] = ()) -> dict[str, str]:
    """Give every tag a channel name: its own where it can be one, else one made from it.

    No name is that of another tag, nor differs from another name only by capitals.

    Args:
        tags: names at the source, each once.
        taken: other names at the source.

    Example:
        >>> name_channels(["flow", "Druck [bar]", "2.Pumpe"])
        {'flow': 'flow', 'Druck [bar]': 'Druck', '2.Pumpe': 'x2_Pumpe'}
    """
    used = {word.casefold() for word in (*RESERVED, *taken)}
    names: dict[str, str] = {}
    for tag in tags:
        if VALID.fullmatch(tag) and len(tag) <= LONGEST_NAME and tag.casefold() not in used:
            names[tag] = tag
            used.add(tag.casefold())
    used |= {tag.casefold() for tag in tags}
    for tag in tags:
        if tag not in names:
            names[tag] = _unused(_identifier(tag), used)
            used.add(names[tag].casefold())
    return {tag: names[tag] for tag in tags}


def _identifier(tag: str) -> str:
    words = NODE_ID.sub("", split_unit(tag)[0]).translate(SPELLED)
    parted = unicodedata.normalize("NFKD", words).replace(DIAERESIS, "e")  # "ä" becomes "ae"
    plain = parted.encode("ascii", "ignore").decode("ascii")
    name = re.sub(r"[^A-Za-z0-9]+", "_", plain).strip("_")[-LONGEST_NAME:].strip("_")
    if not name:
        return "signal"
    return name if name[0].isalpha() else f"x{name}"


def _unused(name: str, used: set[str]) -> str:
    if name.casefold() not in used:
        return name
    number = 2
    while f"{name}_{number}".casefold() in used:
        number += 1
    return f"{name}_{number}"


def pair_names(tags: Sequence[str]) -> dict[str, str]:
    """Signals that by their names follow a set-point: ``PIC1.PV`` follows ``PIC1.SP``.

    Example:
        >>> pair_names(["PIC1.PV", "PIC1.SP", "speed", "speed_setpoint", "level"])
        {'PIC1.PV': 'PIC1.SP', 'speed': 'speed_setpoint'}
    """
    words = {tag: split_unit(tag)[0] for tag in tags}
    set_points = {
        SET_POINT.sub("", text).casefold(): tag
        for tag, text in words.items()
        if SET_POINT.search(text)
    }
    found = {}
    for tag, text in words.items():
        stem = MEASURED.sub("", text).casefold()
        if stem and tag not in set_points.values() and stem in set_points:
            found[tag] = set_points[stem]
    return found
