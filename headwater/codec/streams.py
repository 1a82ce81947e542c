"""Parts of blocks: pieces with their lengths, squeezed pieces, and their distrustful reader. It knows no coder."""

from __future__ import annotations

import struct

import zstandard

from headwater.codec.form import Undecodable

_LENGTH = struct.Struct("<I")
_WINDOW_BYTES_MAX = 64 << 20  # a frame that wants more memory than any part can have is refused
_KEPT_LEVEL = 9  # of tables and parameters: small, read often
_FAST_LEVEL = 3

_PLAIN, _SQUEEZED = 0, 1


def part(data: bytes) -> bytes:
    """A piece with its length before it."""
    return _LENGTH.pack(len(data)) + data


def squeezed(data: bytes) -> bytes:
    """A piece of known size, by zstd if that makes it smaller."""
    frame = zstandard.ZstdCompressor(level=_KEPT_LEVEL, write_content_size=False).compress(data)
    return bytes([_SQUEEZED]) + frame if len(frame) < len(data) else bytes([_PLAIN]) + data


def unsqueezed(data: bytes | memoryview, size_max: int) -> bytes:
    """What `squeezed` was given. Never makes more than `size_max` bytes."""
    if not len(data):
        raise Undecodable("codec: an empty part")
    if data[0] == _PLAIN:
        if len(data) - 1 > size_max:
            raise Undecodable("codec: a part is larger than it may be")
        return bytes(data[1:])
    if data[0] != _SQUEEZED:
        raise Undecodable(f"codec: a part of kind {data[0]}")
    return unzipped(data[1:], size_max)


def zipped(data: bytes | memoryview) -> bytes:
    """Bulk bytes by zstd."""
    return zstandard.ZstdCompressor(level=_FAST_LEVEL, write_content_size=False).compress(data)


def unzipped(frame: bytes | memoryview, size_max: int) -> bytes:
    """What `zipped` was given. Never makes more than `size_max` bytes."""
    try:
        told = zstandard.get_frame_parameters(frame).content_size
        # A told size is allocated whatever `max_output_size` says.
        if told not in {zstandard.CONTENTSIZE_UNKNOWN, zstandard.CONTENTSIZE_ERROR, 0}:
            raise Undecodable("codec: a frame that tells its size")
        inflater = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES_MAX)
        # A size of 0 would mean "no limit".
        return inflater.decompress(frame, max_output_size=max(size_max, 1), allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Undecodable("codec: a frame is damaged") from error


class Parts:
    """Reads pieces front to back; whatever is not there is `Undecodable`."""

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0

    def byte(self) -> int:
        return self.bytes(1)[0]

    def bytes(self, count: int) -> memoryview:
        if not 0 <= count <= len(self._data) - self._at:
            raise Undecodable("codec: cut short")
        self._at += count
        return self._data[self._at - count : self._at]

    def integer(self) -> int:
        """Four bytes, little-endian."""
        (value,) = _LENGTH.unpack(self.bytes(_LENGTH.size))
        return int(value)

    def part(self) -> memoryview:
        return self.bytes(self.integer())

    def end(self) -> None:
        if self._at != len(self._data):
            raise Undecodable("codec: bytes after the end")
