"""An image folder: every layout and colour mode works, every mistake is named."""

import os
import warnings

import numpy as np
import pytest
from PIL import Image

from deeplearn.data import image_folder
from deeplearn.data.doors import images as door
from deeplearn.data.image_folder import files, folder, pictures_in, read_image
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


def layout(root, **counts):
    """So many images of each of two classes in folders of these names."""
    for split, count in counts.items():
        for name in ("cat", "dog"):
            for i in range(count):
                save(root / split / name / f"{i}.png")
    return root


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        (dict(train=10, val=5), [16, 10, 4]),
        (dict(Train=10, Test=5), [16, 4, 10]),
        (dict(training=10, testing=5), [16, 4, 10]),
        (dict(train=10, val=5, test=4), [20, 10, 8]),
        (dict(TRAIN=10, dev=5, Testing=4), [20, 10, 8]),
        (dict(training_set=10, test_set=5), [16, 4, 10]),
        (dict(seg_train=10, seg_test=5), [16, 4, 10]),
        (dict(trainset=10, valset=5, testset=4), [20, 10, 8]),
    ],
)
def test_folders_of_a_split_are_no_classes_whatever_they_are_called(tmp_path, capsys, counts, sizes):
    splits = folder(layout(tmp_path, **counts), (4, 4))
    assert [len(part.label) for part in splits] == sizes
    assert {part.classes for part in splits} == {("cat", "dog")}
    assert ("a fifth of" in capsys.readouterr().err) == (len(counts) == 2)


def test_a_split_that_is_not_clear_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"val and .*validation are both there"):
        folder(layout(tmp_path / "a", train=5, val=5, validation=5), (4, 4))
    with pytest.raises(DataError, match="holds val and test, but no train"):
        folder(layout(tmp_path / "b", val=5, test=5), (4, 4))
    with pytest.raises(DataError, match="holds evaluation and train, and each of them cat and dog"):
        folder(layout(tmp_path / "d", train=5, evaluation=5), (4, 4))
    with pytest.raises(DataError, match=r"one class only, 'train', .* did you mean .*train\?"):
        folder(layout(tmp_path / "e", train=5), (4, 4))
    for name in ("train", "car", "ship"):  # vehicles
        for i in range(5):
            save(tmp_path / f"c/{name}/{i}.png")
    assert folder(tmp_path / "c", (4, 4)).train.classes == ("car", "ship", "train")


def test_what_is_no_image_of_the_users_is_left_out_and_counted(pets, capsys):
    clean = folder(pets, (4, 4))
    for i in range(3):
        save(pets / f"cat/.ipynb_checkpoints/{i}-checkpoint.png")
        (pets / f"dog/._{i}.png").write_bytes(b"\x00\x05\x16\x07Mac OS X")
    save(pets / "__MACOSX/cat/1.png")
    save(pets / "stray.png")
    (pets / "cat/list.TXT").write_text("1.png")
    (pets / "cat/gone.png").symlink_to(pets / "nowhere.png")
    (pets / "cat/up").symlink_to(pets)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        splits = folder(pets, (4, 4))
    for a, b in zip(clean, splits, strict=True):
        np.testing.assert_array_equal(a.image, b.image)
    said = capsys.readouterr().err
    folder(pets, (4, 4), say=False)
    assert not capsys.readouterr().err
    assert "left out 1 .txt, 1 broken link(s), 5 hidden" in said and "1 image(s) outside of the class folders" in said


def test_links_to_images_and_folders_are_followed(pets, tmp_path):
    linked = tmp_path / "linked"
    (linked / "cat").mkdir(parents=True)
    for file in (pets / "cat").iterdir():
        (linked / "cat" / file.name).symlink_to(file)
    (linked / "dog").symlink_to(pets / "dog")
    for a, b in zip(folder(pets, (4, 4)), folder(linked, (4, 4)), strict=True):
        np.testing.assert_array_equal(a.image, b.image)


@pytest.mark.parametrize("top", [255, 4095, 65535])
@pytest.mark.parametrize("name", ["x.png", "x.tif"])
def test_greys_of_any_depth_keep_their_range(tmp_path, top, name):
    grey = np.linspace(0, top, 256).astype(np.int32 if name == "x.tif" else np.uint16)[None].repeat(16, 0)
    Image.fromarray(grey).save(tmp_path / name)
    np.testing.assert_allclose(read_image(tmp_path / name, (16, 256), 1)[0, :, 0], np.arange(256), atol=1)


@pytest.mark.parametrize("values", [[0, 65536], [-1, 5]])
def test_greys_that_no_depth_holds_are_refused(tmp_path, values):
    Image.fromarray(np.array([values], np.int32)).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match=rf"its values reach from {values[0]} to {values[1]}"):
        read_image(tmp_path / "x.tif", (4, 4), 1)


def test_many_files_are_decoded_when_they_are_needed_and_are_the_same(pets, monkeypatch):
    data = door.Data(path=pets, size=4)
    eager = door.sources(data, batch=5, seed=3, choose=False)
    read = []
    original = image_folder.read_image
    monkeypatch.setattr(image_folder, "read_image", lambda *a: read.append(a[0]) or original(*a))
    monkeypatch.setattr(image_folder, "EAGER", 10)
    monkeypatch.setattr(door, "MEASURED", 4)
    late = door.sources(data, batch=5, seed=3, choose=False)
    assert len(read) == 4 and late.pixels.shape == eager.pixels.shape and late.pixels.classes == eager.pixels.classes
    for name in ("train", "held"):
        a, b = (list(getattr(sources, name).once()) for sources in (eager, late))
        for one, other in zip(a, b, strict=True):
            for column in one:
                np.testing.assert_array_equal(one[column], other[column])
    before = len(read)
    assert late.train.at(7)["image"].shape == (5, 4, 4, 1) and len(read) == before  # each file is decoded once
    limited = door.sources(door.Data(path=pets, size=4, limit=6), batch=5, seed=3, choose=True)
    assert limited.train.size == 6 and limited.held.size == 4
    shown = door.held_images(data, 3, choose=False, most=3)
    assert shown.image.shape == (3, 4, 4, 1)
    print_ = late.train.fingerprint()
    assert door.sources(data, batch=9, seed=4, choose=True).train.fingerprint() != print_
    assert door.sources(data, batch=5, seed=3, choose=False).train.fingerprint() == print_
    first = late.train.records.paths[0]
    first.write_bytes(first.read_bytes() + b"more")
    assert door.sources(data, batch=5, seed=3, choose=False).train.fingerprint() != print_


def test_copies_among_many_files_are_reported_without_decoding(pets, monkeypatch):
    monkeypatch.setattr(image_folder, "EAGER", 10)
    for i in range(12):
        (pets / f"dog/copy{i}.png").write_bytes((pets / "cat/0.png").read_bytes())
    with pytest.warns(UserWarning, match=r"1 image\(s\) of pets/(test|validation) are in the training data too"):
        files(pets, (4, 4))


def test_pictures_to_look_at_may_be_folders_and_patterns(pets):
    save(pets / "cat/.hidden.png")
    assert pictures_in([str(pets / "cat")]) == sorted((pets / "cat").glob("[0-9].png"))
    assert pictures_in([str(pets / "*" / "3.png"), str(pets / "dog/1.png")]) == [
        pets / "cat/3.png",
        pets / "dog/3.png",
        pets / "dog/1.png",
    ]
    for nothing in ("*.gif", "nothing[0-9].png"):
        with pytest.raises(DataError, match="stands for no file"):
            pictures_in([str(pets / nothing)])
    (pets / "odd[1].png").write_bytes((pets / "cat/0.png").read_bytes())  # a file of that very name
    assert pictures_in([str(pets / "odd[1].png")]) == [pets / "odd[1].png"]


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
    if how == "archive":
        return pets / "cat/1.png", r"1\.png is a file; unpack it"
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
    "how",
    [
        "missing",
        "archive",
        "no classes",
        "one class",
        "empty class",
        "text as image",
        "truncated",
        "unknown test class",
    ],
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
