"""What a photograph's file says survives being read and written."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from deeplearn.data import photofile, png16
from deeplearn.errors import DataError


def pixels(channels: int, kind: type = np.uint8) -> np.ndarray:
    rng = np.random.default_rng(channels)
    return rng.integers(0, np.iinfo(kind).max, (12, 17, channels), kind, endpoint=True)


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_eight_bits_survive(mode, tmp_path):
    image = Image.fromarray(pixels(len(mode)).squeeze(), mode)
    image.save(tmp_path / "a.png", icc_profile=b"profile")
    photo = photofile.read(tmp_path / "a.png")
    photofile.write(tmp_path / "b.png", photo)
    again = Image.open(tmp_path / "b.png")
    assert again.mode == mode and again.info["icc_profile"] == b"profile"
    np.testing.assert_array_equal(np.asarray(again), np.asarray(image))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_sixteen_bits_survive(channels, tmp_path):
    image = pixels(channels, np.uint16)
    png16.write(tmp_path / "a.png", image, b"profile")
    photo = photofile.read(tmp_path / "a.png")
    assert photo.bits == 16 and photo.colour.shape == (12, 17, 3) and (photo.alpha is None) == (channels % 2 == 1)
    photofile.write(tmp_path / "b.png", photo)
    assert (tmp_path / "b.png").read_bytes() == (tmp_path / "a.png").read_bytes()
    seen = np.asarray(Image.open(tmp_path / "a.png")).reshape(12, 17, -1)  # Pillow sees the upper eight bits,
    seen = seen[..., [0, 3]] if channels == 2 else seen  # and grey with transparency as colours
    np.testing.assert_array_equal(image if channels == 1 else image >> 8, seen)


def test_every_filter_of_a_png_is_undone(tmp_path):
    """Written byte by byte, as the standard says it."""
    image = pixels(3, np.uint16)
    plain = image.astype(">u2").view(np.uint8).reshape(12, -1).astype(int)
    lines = []
    for y in range(12):
        kind, line = y % 5, []
        for x in range(plain.shape[1]):
            left = plain[y, x - 6] if x >= 6 else 0
            up = plain[y - 1, x] if y else 0
            corner = plain[y - 1, x - 6] if y and x >= 6 else 0
            paeth = min((left, up, corner), key=lambda v: abs(left + up - corner - v))
            line.append((plain[y, x] - (0, left, up, (left + up) // 2, paeth)[kind]) % 256)
        lines.append(bytes([kind, *line]))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 17, 12, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"".join(lines)))]
    file = png16.SIGNATURE
    for name, data in [*chunks, (b"IEND", b"")]:
        file += struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
    (tmp_path / "a.png").write_bytes(file)
    np.testing.assert_array_equal(png16.read(tmp_path / "a.png")[0], image)
    (tmp_path / "b.png").write_bytes(file[:70] + b"?" + file[71:])
    with pytest.raises(DataError, match=r"b\.png .*damaged"):
        photofile.read(tmp_path / "b.png")


def test_a_turned_photograph_is_read_upright(tmp_path):
    image, exif = Image.fromarray(pixels(3)), Image.Exif()
    exif[0x0112] = 6  # a quarter turn to the right
    image.save(tmp_path / "a.png", exif=exif)
    expected = np.rot90(np.asarray(image), -1) / np.float32(255)
    np.testing.assert_allclose(photofile.read(tmp_path / "a.png").colour, expected, rtol=1e-6)


def test_other_kinds_of_pixels_become_these(tmp_path):
    for mode in ("1", "P", "CMYK", "I;16"):
        path = tmp_path / f"{mode[0]}.tif"
        source = Image.fromarray(pixels(1, np.uint16)[..., 0]) if mode == "I;16" else Image.fromarray(pixels(3))
        source.convert(mode).save(path)
        photo = photofile.read(path)
        assert photo.colour.shape == (12, 17, 3) and photo.bits == (16 if mode == "I;16" else 8)


def test_a_file_that_is_none_is_named(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    for name in ("a.png", "missing.png"):
        with pytest.raises(DataError, match=name):
            photofile.read(tmp_path / name)
