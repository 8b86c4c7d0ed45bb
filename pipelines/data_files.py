"""Files that a user names as data, and the one glob that matches exactly these."""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from pipelines.reading import TEXTS, find_files

SUFFIXES = (*TEXTS, *(f"{suffix}.gz" for suffix in TEXTS), ".parquet")
FARTHEST = 2
"""Folders up from the asset file to data that are still named relative to it."""


class InitError(Exception):
    """An asset file that cannot be made; the message says why and what to do."""


@dataclass(frozen=True)
class DataFiles:
    """Files of samples."""

    paths: tuple[Path, ...]
    """Absolute, by name."""
    pattern: str
    """Glob that matches these and no others, as seen from the asset file."""
    others: int
    """Files among the data that are neither CSV nor Parquet."""


def find_data(data: Sequence[str], *, beside: Path) -> DataFiles:
    """Find the files that are named one by one, by folder or by glob.

    Args:
        data: files, folders (all readable files below) and globs.
        beside: folder of the asset file.

    Raises:
        InitError: nothing is found, or no single glob matches exactly the files.
    """
    found = [path for word in data for path in _files(word)]
    paths = tuple(sorted({path for path in found if is_readable(path)}))
    if not paths:
        kinds = "neither CSV (.csv, .txt, .tsv, also with .gz) nor .parquet"
        what = f"is {kinds}" if found else "is not there, or has no files"
        raise InitError(f"'{data[0]}' {what}; name files, a folder or a quoted glob of samples")
    for pattern in _patterns(data, paths):
        seen = _seen_from(pattern, beside)
        absolute = str(Path(glob.escape(str(beside.resolve()))) / seen)
        if tuple(file.path.resolve() for file in find_files(absolute)) == paths:
            return DataFiles(paths, seen, others=len(set(found)) - len(paths))
    raise InitError(
        f"no single glob matches exactly these {len(paths)} files and no others beside them; "
        "put them into a folder of their own, and name that"
    )


def is_readable(path: Path) -> bool:
    """Whether the name says that an ingest can read it.

    Example:
        >>> is_readable(Path("a.CSV.gz")), is_readable(Path("README.md"))
        (True, False)
    """
    return path.name.lower().endswith(SUFFIXES)


def _files(word: str) -> list[Path]:
    path = Path(word).expanduser()
    if path.is_file():
        return [path.resolve()]
    pattern = f"{glob.escape(str(path))}/**/*" if path.is_dir() else str(path.absolute())
    return [file.path.resolve() for file in find_files(str(Path(pattern).absolute()))]


def _patterns(data: Sequence[str], paths: Sequence[Path]) -> Iterator[str]:
    """Absolute globs that may match exactly these files, the plainest first."""
    if len(data) == 1 and glob.has_magic(data[0]) and not Path(data[0]).exists():
        fixed = next(place for place in Path(data[0]).parents if not glob.has_magic(str(place)))
        yield f"{glob.escape(str(fixed.resolve()))}/{Path(data[0]).relative_to(fixed)}"
    if len(paths) == 1:
        yield glob.escape(str(paths[0]))
    folder = Path(os.path.commonpath([path.parent for path in paths]))
    names = [path.relative_to(folder).as_posix() for path in paths]
    endings = dict.fromkeys([*(_ending(path) for path in paths), _common_end(names), ""])
    start = _common_start([path.name for path in paths])
    for beginning in ("", glob.escape(start)):
        for depth in ("", "**/", "*/"):
            for ending in endings:
                yield f"{glob.escape(str(folder))}/{depth}{beginning}*{glob.escape(ending)}"


def _ending(path: Path) -> str:
    """The name's ending as it is written: ``.csv.gz``."""
    lower = path.name.lower()
    longest = max((suffix for suffix in SUFFIXES if lower.endswith(suffix)), key=len)
    return path.name[-len(longest) :]


def _common_start(words: Sequence[str]) -> str:
    same = [letters[0] for letters in takewhile(_are_equal, zip(*words, strict=False))]
    return "".join(same)


def _are_equal(letters: tuple[str, ...]) -> bool:
    return len(set(letters)) == 1


def _common_end(names: Sequence[str]) -> str:
    return _common_start([name[::-1] for name in names])[::-1].rpartition("/")[2]


def _seen_from(pattern: str, beside: Path) -> str:
    """The glob relative to the asset file where that is near, else absolute."""
    here = beside.resolve()
    for ups in range(FARTHEST + 1):
        near = here.parents[ups - 1] if 0 < ups <= len(here.parents) else here
        start = f"{glob.escape(str(near))}/"
        if pattern.startswith(start) and near != Path(near.anchor):
            return "../" * ups + pattern.removeprefix(start)
    return pattern
