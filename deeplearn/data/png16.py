"""PNG files of 16 bits a channel with colour or transparency, which Pillow would cut down to 8 (W3C PNG, 2003)."""

import struct
import zlib
from pathlib import Path

import numpy as np
from jaxtyping import UInt8, UInt16

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}
"""Of each colour type that is not a palette: grey, RGB, grey and alpha, RGBA."""


def deep(head: bytes) -> bool:
    """Whether the first bytes of a file say that it is a PNG of 16 bits, with colour or transparency."""
    return head[:8] == SIGNATURE and head[12:16] == b"IHDR" and head[24] == 16 and head[25] in (2, 4, 6)


def read(path: Path) -> tuple[UInt16[np.ndarray, "H W C"], bytes | None]:
    """The channels, and the colour profile where there is one.

    Raises:
        ValueError: what is wrong with the file.
    """
    chunks = _chunks(path.read_bytes())
    width, height, _, kind, _, _, interlaced = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if interlaced:
        raise ValueError("it is interlaced, and of 16 bits; save it without interlacing")
    pixel = 2 * CHANNELS[kind]  # bytes
    data = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8)
    if len(data) != height * (1 + width * pixel):
        raise ValueError("its pixels are cut short")
    lines = data.reshape(height, 1 + width * pixel)
    plain = _unfiltered(lines[:, 1:].reshape(height, width, pixel), lines[:, 0])
    profile = chunks.get(b"iCCP")
    return plain.view(">u2").astype(np.uint16), profile and zlib.decompress(profile.split(b"\0", 1)[1][1:])


def write(path: Path, image: UInt16[np.ndarray, "H W C"], profile: bytes | None) -> None:
    """Every line as its difference from the one above."""
    height, width, channels = image.shape
    kind = next(kind for kind, count in CHANNELS.items() if count == channels)
    data = image.astype(">u2").view(np.uint8).reshape(height, -1)
    lines = np.diff(data, axis=0, prepend=np.zeros_like(data[:1]))
    lines = np.concatenate([np.full((height, 1), 2, np.uint8), lines], axis=1)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))]
    chunks += [(b"iCCP", b"ICC\0\0" + zlib.compress(profile))] if profile else []
    chunks += [(b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b"")]
    parts = [struct.pack(">I", len(data)) + name + data for name, data in chunks]
    sums = [struct.pack(">I", zlib.crc32(part[4:])) for part in parts]
    path.write_bytes(SIGNATURE + b"".join(part + check for part, check in zip(parts, sums, strict=True)))


def _chunks(file: bytes) -> dict[bytes, bytes]:
    """Name -> data; of several chunks of a name everything."""
    found: dict[bytes, bytes] = {}
    place = len(SIGNATURE)
    while place + 12 <= len(file):
        (size,) = struct.unpack_from(">I", file, place)
        name, data = file[place + 4 : place + 8], file[place + 8 : place + 8 + size]
        if file[place + 8 + size : place + 12 + size] != struct.pack(">I", zlib.crc32(name + data)):
            raise ValueError("it is damaged: a checksum is wrong")
        found[name] = found.get(name, b"") + data
        place += 12 + size
    return found


def _unfiltered(lines: UInt8[np.ndarray, "H W B"], kinds: UInt8[np.ndarray, "H"]) -> UInt8[np.ndarray, "H W B"]:
    """Bytes from their differences to what is left of them, above, their mean, or the likeliest of three (Paeth).

    A pixel needs those to its left and above, so all pixels of a diagonal can be had at once.
    """
    height, width, depth = lines.shape
    plain = np.zeros((height + 1, width + 1, depth), np.int16)
    for diagonal in range(height + width - 1):
        row = np.arange(max(0, diagonal - width + 1), min(height, diagonal + 1))
        column = diagonal - row
        left, up, corner = plain[row + 1, column], plain[row, column + 1], plain[row, column]
        turn = left + up - corner
        gaps = np.abs(turn - np.stack([left, up, corner]))
        likeliest = np.where(
            (gaps[0] <= gaps[1]) & (gaps[0] <= gaps[2]), left, np.where(gaps[1] <= gaps[2], up, corner)
        )
        guesses = [left, up, (left + up) // 2, likeliest]
        guess = np.select([(kinds[row] == kind)[:, None] for kind in (1, 2, 3, 4)], guesses)
        plain[row + 1, column + 1] = (lines[row, column] + guess) % 256
    return np.ascontiguousarray(plain[1:, 1:]).astype(np.uint8)
