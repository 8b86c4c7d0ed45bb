"""Zip files in memory: written the same way each time, read within limits."""

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Mapping, Sequence

from faultwatch_edge.errors import BundleError

_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
_ORDINARY_FILE = 0o100644 << 16
_MADE_ON_UNIX = 3
_END_RECORD = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_ZIP64_LOCATOR_SIGNATURE = b"PK\x06\x07"
_ZIP64_LOCATOR_SIZE = 20
_LARGEST_DIRECTORY = 64 * 1024
_ENCRYPTED = 0x1
_UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,  # a compression or zip version that the library does not know
    RuntimeError,
    ValueError,
)


def pack(members: Mapping[str, bytes]) -> bytes:
    """Make a stored (uncompressed) zip file; the same members give the same bytes.

    Example:
        >>> sorted(unpack(pack({"a": b"1", "b": b"22"}), {"a": 1, "b": 2}).items())
        [('a', b'1'), ('b', b'22')]
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            info = zipfile.ZipInfo(name, date_time=_FIXED_DATE)
            info.create_system = _MADE_ON_UNIX
            info.external_attr = _ORDINARY_FILE
            archive.writestr(info, data)
    return buffer.getvalue()


def unpack(
    data: bytes,
    limits: Mapping[str, int],
    *,
    total: int | None = None,
    may_be_compressed: bool = False,
    optional: Collection[str] = (),
) -> dict[str, bytes]:
    """Read exactly the members named in ``limits``, none longer than its limit in bytes.

    Nothing is decompressed or copied before names and declared sizes have passed.

    Args:
        data: the zip file.
        limits: most bytes of each member, uncompressed.
        total: most bytes of all members together, uncompressed.
        may_be_compressed: whether compressed members are read.
        optional: members that may be absent.

    Raises:
        BundleError: the members are others, doubled, compressed, too big, no files or damaged.
    """
    _check_end_record(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            _check_names([info.filename for info in infos], list(limits), optional)
            for info in infos:
                _check_declared(info, limits[info.filename], may_be_compressed=may_be_compressed)
            _check_total(infos, total)
            return {info.filename: _read_member(archive, info) for info in infos}
    except _UNREADABLE as error:
        raise BundleError(f"is damaged ({error}); copy the file again") from error


def _check_end_record(data: bytes) -> None:
    """Bound the directory before the zip library reads it."""
    end = data[-_END_RECORD.size :]
    if len(end) < _END_RECORD.size or not end.startswith(_END_SIGNATURE):
        raise BundleError(
            "is not a complete zip file, expected one without a comment; copy it again"
        )
    before = data[: -_END_RECORD.size][-_ZIP64_LOCATOR_SIZE:]
    directory_size = _END_RECORD.unpack(end)[5]
    if before.startswith(_ZIP64_LOCATOR_SIGNATURE) or directory_size > _LARGEST_DIRECTORY:
        raise BundleError(
            f"has a directory of {directory_size} bytes, expected at most {_LARGEST_DIRECTORY}"
        )


def _check_names(found: Sequence[str], expected: Sequence[str], optional: Collection[str]) -> None:
    problems = {
        "has members that it must not have": sorted(set(found) - set(expected)),
        "lacks members": sorted(set(expected) - set(found) - set(optional)),
        "has members twice": sorted({name for name in found if found.count(name) > 1}),
    }
    for problem, names in problems.items():
        if names:
            raise BundleError(
                f"{problem}: {', '.join(map(repr, names[:3]))}, expected exactly "
                f"{', '.join(expected)}; release it again"
            )


def _check_declared(info: zipfile.ZipInfo, limit: int, *, may_be_compressed: bool) -> None:
    if info.flag_bits & _ENCRYPTED:
        raise BundleError(f"member {info.filename} is encrypted, expected plain members")
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        raise BundleError(f"member {info.filename} is a link or the like, expected plain members")
    stored = info.compress_type == zipfile.ZIP_STORED and info.compress_size == info.file_size
    if not (stored or may_be_compressed):
        raise BundleError(f"member {info.filename} is compressed, expected stored members")
    if info.file_size > limit:
        raise BundleError(
            f"member {info.filename} has {info.file_size} bytes, expected at most {limit}"
        )


def _check_total(infos: Sequence[zipfile.ZipInfo], total: int | None) -> None:
    found = sum(info.file_size for info in infos)
    if total is not None and found > total:
        raise BundleError(f"unpacks to {found} bytes, expected at most {total}")


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    with archive.open(info) as member:
        data = member.read(info.file_size + 1)
    if len(data) != info.file_size:
        raise BundleError(
            f"member {info.filename} has {len(data)} bytes, expected the {info.file_size} that the "
            "directory declares; copy the file again"
        )
    return data
