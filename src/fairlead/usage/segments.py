"""The journal's files: how a record is framed, checked and found again, whatever happened to the bytes around it.

    segment = header, header again, frames …, zeros          header: 64 bytes, with a seed of its own
    frame   = size (24 bits) and kind (8 bits), checksum (u32), cell (u64), payload, padding to 8 bytes

The checksum is a CRC-32 of the payload that begins with the segment's seed, the frame's place and its first word: a
frame is valid in one place of one segment only, so that neither old bytes nor anything a client sends can pose as one.
A cell is the only thing that changes after it was written: it counts how many bytes of an answer have come, and checks
itself. That of a settlement tells where the settlement before it begins, so that who looks for settlements only knows
that it passed over none. A size of 0 is the end. Numbers are little-endian.
"""

import errno
import mmap
import os
import secrets
import struct
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from msgspec import Struct

VERSION = 1  # of the framing; what the records hold is told by the segment itself, see `records.LAYOUT`
BEGIN = 128  # of the first frame
FRAME = struct.Struct("<IIQ")
LARGEST_PAYLOAD = (1 << 20) - 1

# Kinds of records
INTENT, PROGRESS, SETTLED, CARRIED, OPENED, LAYOUT = range(1, 7)

_HEADER = struct.Struct("<8sHHIQ16sIQ")
_MAGIC = b"FAIRLEAD"
_COPY = 64  # bytes from the header to its copy
_SUFFIX, _MAKING = ".segment", ".making"
_CELL_CHECK = 1_048_573  # the largest prime below 2**20
_ZEROS = bytes(64 << 10)
_pack, _crc32 = FRAME.pack, zlib.crc32


class Position(NamedTuple):
    """A place in a journal: what is before it has been read."""

    segment: int
    offset: int


NOWHERE = Position(0, 0)  # before the first record


class Header(Struct, frozen=True):
    """What a segment says of itself."""

    journal: str  # id, 32 hex digits
    number: int  # from 1, in the order of writing
    size: int  # bytes of the file
    seed: int
    created_us: int


class Frame(Struct, gc=False):
    """A whole record, or, with kind 0, bytes between `begin` and `end` that are none."""

    kind: int
    payload: bytes
    begin: int
    end: int
    cell: int


class Damaged(Exception):
    """A file that is no segment, or none that this version can read."""


def file_name(number: int) -> str:
    return f"{number:012d}{_SUFFIX}"


def numbers(folder: Path) -> list[int]:
    """Of the segments in `folder`, in their order."""
    return sorted(int(file.stem) for file in files(folder))


def files(folder: Path) -> list[Path]:
    """The segments in `folder`."""
    return [file for file in folder.glob(f"*{_SUFFIX}") if file.stem.isdecimal()]


def sync_folder(folder: Path) -> None:
    """See to it that the names of the files in `folder` are on the disk. Raises OSError."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(place)
    finally:
        os.close(place)


def read_header(begin: bytes) -> Header:
    """Of a segment's first 128 bytes. Raises Damaged."""
    for at in (0, _COPY):
        told = begin[at : at + _HEADER.size]
        check = begin[at + _HEADER.size : at + _HEADER.size + 4]
        if len(check) == 4 and zlib.crc32(told) == int.from_bytes(check, "little"):
            magic, version, _, size, number, journal, seed, created_us = _HEADER.unpack(told)
            if magic == _MAGIC:
                if version > VERSION:
                    raise Damaged(f"a newer Fairlead wrote it (format {version}, this one knows up to {VERSION})")
                return Header(journal.hex(), number, size, seed, created_us)
    raise Damaged("its header is damaged")


def cell_value(cell: int) -> int:
    """What a cell counts; 0 if it makes no sense."""
    value = cell >> 20
    return value if cell & 0xF_FFFF == value % _CELL_CHECK else 0


class Segment:
    """A segment open for writing, by one thread."""

    __slots__ = (
        "_file",
        "_last",
        "_map",
        "_settled",
        "at",
        "cells",
        "header",
        "number",
        "path",
        "records",
        "seed",
        "size",
    )

    def __init__(self, path: Path, header: Header) -> None:
        """Make the file: all of its room is taken at once, so that a full disk is an error here and no crash later.

        Raises OSError.
        """
        self.path, self.header = path, header
        self.number, self.seed, self.size = header.number, header.seed, header.size
        making = path.with_suffix(_MAKING)  # whoever dies here leaves nothing that could be taken for a segment
        self._file = os.open(making, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(self._file, 0, header.size)
            told = _HEADER.pack(
                _MAGIC, VERSION, 0, header.size, header.number, bytes.fromhex(header.journal), header.seed,
                header.created_us,
            )  # fmt: skip
            told = (told + zlib.crc32(told).to_bytes(4, "little")).ljust(_COPY, b"\0")
            # A page that is in memory already costs a thirtieth when it is first written to through the map.
            for place in range(0, header.size, len(_ZEROS)):
                os.pwrite(self._file, _ZEROS[: header.size - place], place)
            os.pwrite(self._file, told * 2, 0)
            self._map = mmap.mmap(self._file, header.size)
            if path.exists():
                raise FileExistsError(errno.EEXIST, f"{path} is there already")
            making.rename(path)
        except BaseException:
            os.close(self._file)
            making.unlink(missing_ok=True)
            raise
        self.cells = memoryview(self._map).cast("Q")  # of the whole file, eight bytes each
        self._last = header.size - 16  # for the end of a frame
        self.at = BEGIN  # where the next frame goes; whoever reads may read up to here
        self._settled = 0  # where the last settlement is

    @property
    def left(self) -> int:
        """Bytes that can still be written."""
        return self._last - self.at

    def put(self, kind: int, payload: bytes) -> int:
        """Append a record; the index of its cell, or 0 if it does not fit."""
        size, begin = len(payload), self.at
        end = begin + 16 + size
        if end > self._last:
            return 0
        word = size | kind << 24
        if kind == SETTLED:
            link, self._settled = self._settled, begin
        else:
            link = 0
        self._map[begin:end] = _pack(word, _crc32(payload, self.seed ^ begin ^ word), link) + payload
        self.at = (end + 7) & -8
        return begin + 8 >> 3

    def count(self, cell: int, value: int) -> None:
        """Set a cell: one store of eight bytes, whole or not at all."""
        self.cells[cell] = value << 20 | value % _CELL_CHECK

    def sync(self) -> None:
        """Wait until all of it is on the disk. Raises OSError."""
        os.fdatasync(self._file)

    def close(self) -> None:
        self.cells.release()
        self._map.close()
        os.close(self._file)


def new_header(journal: str, number: int, size: int) -> Header:
    """Of a segment of `size` bytes, or a few more: it is a whole number of cells."""
    return Header(journal, number, (size + 7) & -8, secrets.randbits(32), time.time_ns() // 1000)


# ---- reading


def frames(data: bytes, base: int, seed: int, *, only: int = 0) -> Iterator[Frame]:
    """The records in `data`, which lies at `base` of its segment, begins with a frame and holds all there is to read.

    Bytes that are no record are given as one frame of kind 0, up to the next record that is whole; the zeros behind
    the last record are not. With `only` (SETTLED, or 0), records of other kinds are passed over, and read only if what
    they say of their size leads astray.
    """
    at, end = 0, len(data)
    sure = at  # what is before this was checked
    last = 0  # where the last of them was; 0: somewhere before these data
    strict = 0 if only else end  # what is before this must be
    unpack, crc32 = FRAME.unpack_from, zlib.crc32
    while True:
        if at + 16 > end:
            if at <= strict or at == sure:
                return
            at, strict = sure, end
            continue
        word, check, cell = unpack(data, at)
        size, kind = word & 0xFF_FFFF, word >> 24
        stop = at + 16 + size
        if at >= strict and kind != only and word:
            at = (stop + 7) & -8
            continue
        if word and stop <= end:
            payload = data[at + 16 : stop]
            if crc32(payload, seed ^ base + at ^ word) == check:
                if at >= strict and cell != last and (last or cell >= base):  # there may be others before it
                    at, strict = sure, at + 1
                    continue
                begin, at = at, (stop + 7) & -8
                sure = at
                if kind == only or not only:
                    last = base + begin
                    yield Frame(kind, payload, last, base + at, cell)
                continue
        if sure < at and at >= strict:  # what was passed over led here
            at, strict = sure, at + 1
            continue
        if not word and _only_zeros(data, at):
            return
        following = _next_frame(data, at + 8, base, seed)
        yield Frame(0, b"", base + at, base + (end if following is None else following), 0)
        if following is None:
            return
        sure = at = following


def _only_zeros(data: bytes, at: int) -> bool:
    return all(
        data[place : place + len(_ZEROS)] == _ZEROS[: min(len(_ZEROS), len(data) - place)]
        for place in range(at, len(data), len(_ZEROS))
    )


def _next_frame(data: bytes, at: int, base: int, seed: int) -> int | None:
    """Where the next whole record is, from `at` on."""
    for place in range(at, len(data) - 15, 8):
        word, check, _ = FRAME.unpack_from(data, place)
        size = word & 0xFF_FFFF
        if (
            INTENT <= word >> 24 <= LAYOUT
            and size <= LARGEST_PAYLOAD
            and place + 16 + size <= len(data)
            and zlib.crc32(data[place + 16 : place + 16 + size], seed ^ base + place ^ word) == check
        ):
            return place
    return None
