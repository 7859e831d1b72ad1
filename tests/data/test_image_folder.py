"""An image folder: every layout and colour mode works, every mistake is named."""

import os
import warnings

import numpy as np
import pytest
from PIL import Image

from deeplearn.data.image_folder import folder, read_image
from deeplearn.errors import DataError


def save(path, mode="L", size=(9, 7), value=None, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng([seed, *path.as_posix().encode()]).integers(0, 256, (*size[::-1], 4), np.uint8)
    pixels = pixels if value is None else np.full_like(pixels, value)
    if mode == "I;16":
        Image.fromarray(pixels[..., 0].astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(pixels, "RGBA").convert(mode).save(path)
    return path


@pytest.fixture
def pets(tmp_path):
    for name in ("cat", "dog"):
        for i in range(10):
            save(tmp_path / f"pets/{name}/{i}.png")
    return tmp_path / "pets"


def test_every_image_is_in_one_split_and_labelled_by_its_folder(pets):
    splits = folder(pets, (7, 9))
    assert [len(part.label) for part in splits] == [12, 4, 4]
    assert {part.classes for part in splits} == {("cat", "dog")}
    for part in splits:
        assert part.image.shape[1:] == (7, 9, 1) and part.image.dtype == np.uint8
        for image, label in zip(part.image, part.label, strict=True):
            files = (pets / part.classes[label]).iterdir()
            assert any((read_image(file, (7, 9), 1) == image).all() for file in files)


def test_split_is_a_function_of_the_seed(pets):
    first, again, other = (folder(pets, (4, 4), seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.test.image, again.test.image)
    assert (first.test.image != other.test.image).any()


@pytest.mark.parametrize("validation", [False, True])
def test_the_users_own_split_is_kept(tmp_path, validation):
    for split in ("train", "test", *(["validation"] if validation else [])):
        for name in ("a", "b"):
            for i in range({"train": 5, "validation": 3, "test": 1}[split]):
                save(tmp_path / split / name / f"{i}.png")
    sizes = [len(part.label) for part in folder(tmp_path, (4, 4))]
    assert sizes == ([10, 6, 2] if validation else [8, 2, 2])


def test_mixed_modes_sizes_and_suffixes(tmp_path):
    kinds = [("L", "png"), ("RGB", "jpg"), ("RGBA", "png"), ("P", "gif"), ("1", "bmp"), ("CMYK", "tiff"), ("LA", "png")]
    for name in ("a", "b"):
        for i, (mode, suffix) in enumerate([*kinds, ("I;16", "png"), ("L", "PGM")]):
            save(tmp_path / name / f"{i}.{suffix}", mode, size=(5 + i, 20 - i))
    (tmp_path / "a/notes.txt").write_text("not an image")
    (tmp_path / ".hidden").mkdir()
    assert folder(tmp_path, (6, 6)).train.image.shape[1:] == (6, 6, 3)
    assert folder(tmp_path, (6, 6), channels=1).train.image.shape[1:] == (6, 6, 1)


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "CMYK", "P"])
def test_brightness_survives_every_mode(tmp_path, mode):
    path = save(tmp_path / f"x.{'tiff' if mode == 'CMYK' else 'png'}", mode, value=200)
    np.testing.assert_allclose(read_image(path, (3, 3), 1), 200, atol=1 if mode != "P" else 30)  # P: a fixed palette


def test_transparent_is_white_and_exif_turns(tmp_path):
    Image.new("RGBA", (2, 2), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png", (2, 2), 3) == 255).all()
    wide = Image.fromarray(np.repeat(np.uint8([[0, 255]]), 8, 0).repeat(8, 1))  # dark left half
    exif = Image.Exif()
    exif[0x0112] = 6  # shot with the camera turned: show it rotated by 90 degrees clockwise
    wide.save(tmp_path / "turned.png", exif=exif)
    turned = read_image(tmp_path / "turned.png", (16, 8), 1)
    assert turned[:4].max() == 0 and turned[-4:].min() == 255  # now the upper half is dark


def damage(pets, how):
    if how == "missing":
        return pets / "nowhere", r"there is no folder .*nowhere"
    if how == "no classes":
        return pets / "cat", r"cat holds no class folders"
    if how == "one class":
        (pets / "dog").rename(pets.parent / "dog")
        return pets, r"pets holds one class only, 'cat'; put the images"
    if how == "empty class":
        (pets / "eel").mkdir()
        return pets, r"eel holds 0 image\(s\) .* and needs 3; add some or remove the class"
    if how == "text as image":
        (pets / "dog/3.png").write_text("hello")
        return pets, r"cannot read the image .*dog/3\.png"
    if how == "truncated":
        file = pets / "cat/5.png"
        file.write_bytes(file.read_bytes()[:70])
        return pets, r"cannot read the image .*cat/5\.png .*; repair or remove it"
    for split in ("train", "test"):
        for name in ("a", "b"):
            for i in range(3):
                save(pets / split / name / f"{i}.png")
    save(pets / "test/c/1.png")
    return pets, r"test has the class 'c', which has no training images"


@pytest.mark.parametrize(
    "how", ["missing", "no classes", "one class", "empty class", "text as image", "truncated", "unknown test class"]
)
def test_mistakes_are_named(pets, how):
    path, message = damage(pets, how)
    with pytest.raises(DataError, match=message):
        folder(path, (8, 8))


def test_a_file_is_taken_for_an_image_of_a_named_format_or_for_none(tmp_path):
    """Pillow would hand an EPS, whatever it is called, to Ghostscript: a program in a language that can do anything."""
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "EPS"
    with pytest.raises(DataError, match="cannot identify"):
        read_image(tmp_path / "a.png", (8, 8), 1)


def test_an_image_of_too_many_pixels_is_refused_before_it_takes_memory(tmp_path):
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b""))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(DataError, match=r"30000 x 30000 pixels|decompression bomb"):
            read_image(tmp_path / "bomb.png", (8, 8), 3)


def test_a_pipe_that_is_named_as_an_image_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(DataError, match="no such file"):
        read_image(tmp_path / "a.png", (8, 8), 1)


def test_copies_across_the_split_are_reported(tmp_path):
    for split in ("train", "test"):
        for name in ("a", "b"):
            for i in range(4):
                save(tmp_path / split / name / f"{i}.png", seed=i)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folder(tmp_path, (7, 9))
    (tmp_path / "test/a/copy.png").write_bytes((tmp_path / "train/a/0.png").read_bytes())
    (tmp_path / "train/a/1.png").write_bytes((tmp_path / "train/a/0.png").read_bytes())  # so that a copy surely trains
    with pytest.warns(UserWarning, match=r"\d image\(s\) of .*/(test|validation) are in the training data too"):
        folder(tmp_path, (7, 9))
