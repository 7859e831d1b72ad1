"""TFDS sets are written, prepared and read without TensorFlow; a folder that asks for foreign code is refused."""

import gzip
import io
import json
import struct
import sys
import tarfile

import numpy as np
import pytest
from PIL import Image

from deeplearn.data import tfds as data
from deeplearn.errors import DataError


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    yield tmp_path
    assert "tensorflow" not in sys.modules


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return file.getvalue()


def picture(seed, shape=(8, 9, 3)):
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def write(name="tiny", splits=("train", "test"), size=20, shape=(8, 9, 3)):
    import tensorflow_datasets as tfds

    features = {
        "image": tfds.features.Image(shape=(None, None, 3)),
        "label": tfds.features.ClassLabel(names=["left", "right"]),
        "id": tfds.features.Text(),
        "wave": tfds.features.Tensor(shape=(None, 2), dtype=np.float32, encoding=tfds.features.Encoding.BYTES),
    }

    def records(split):
        for i in range(size):
            image = png(picture([len(split), i], shape))
            yield {"image": image, "label": i % 2, "id": f"{split} é {i}", "wave": np.full((i, 2), i, np.float32)}

    return data.write(name, features, {split: records(split) for split in splits})


def test_written_records_are_read_back(home):
    folder = write()
    assert folder == home / "tiny/1.0.0"
    records = data.read("tiny", "train")
    assert len(records) == 20 and data.classes("tiny") == ("left", "right")
    for i in (0, 3, 19):
        record = records[i]
        np.testing.assert_array_equal(record["image"], picture([5, i]), strict=True)
        np.testing.assert_array_equal(record["label"], np.int32(i % 2), strict=True)
        np.testing.assert_array_equal(record["wave"], np.full((i, 2), i, np.float32), strict=True)
        assert record["id"].decode() == f"train é {i}"
    assert len(data.read("tiny", "train[:25%]")) == 5
    assert data.read("tiny", "train", encoded=True)[0]["image"] == png(picture([5, 0]))


def test_the_mock_has_the_types_of_the_real_source(home):
    import tensorflow_datasets as tfds
    from tensorflow_datasets.structured import diamonds  # noqa: F401, which registers it

    with tfds.testing.mock_data(num_examples=3):
        for name, shape in {"mnist": (28, 28, 1), "cifar10": (32, 32, 3), "cifar100": (32, 32, 3)}.items():
            records = data.Decoded(tfds.data_source(name, split="train"))
            assert len(records) == 3
            record = records[0]
            assert record["image"].shape == shape and record["image"].dtype == np.uint8
            assert record["label"].shape == () and record["label"].dtype == np.int32
            assert isinstance(record.get("id", b""), bytes)
        record = data.Decoded(tfds.data_source("diamonds", split="train"))[0]
        assert record["price"].dtype == np.float32 and record["features"]["cut"].dtype == np.int32
        record = data.Decoded(tfds.data_source("ted_hrlr_translate/ru_to_en", split="train"))[0]
        assert isinstance(record["ru"], bytes) and isinstance(record["en"], bytes)


def test_images_in_memory(home):
    write()
    splits = data.images("tiny")
    assert [len(part.label) for part in splits] == [18, 2, 20]
    assert splits.train.classes == ("left", "right") and splits.test.name == "tiny/test"
    np.testing.assert_array_equal(splits.test.image[4], picture([4, 4]))


def gems(size=60):
    """A nested set like TFDS' diamonds."""
    import tensorflow_datasets as tfds

    inner = {"carat": np.float32, "cut": tfds.features.ClassLabel(names=["fair", "ideal"]), "by": tfds.features.Text()}
    rows = (
        {"features": {"carat": i / 10, "cut": i % 3 - 1, "by": f"Ä{i % 2}"}, "price": 100.0 + i} for i in range(size)
    )
    data.write("gems", {"features": inner, "price": np.float32}, {"train": rows})


def test_a_set_of_numbers_and_classes_is_a_table(home):
    gems()
    table = data.table("gems")
    assert [*table] == ["by", "carat", "cut", "price"]
    np.testing.assert_allclose(table["carat"][:3], [0, 0.1, 0.2], atol=1e-7)
    assert table["cut"][:3].tolist() == ["", "fair", "ideal"] and table["by"][:2].tolist() == ["Ä0", "Ä1"]
    assert {values.dtype.kind for values in table.values()} == {"f", "U"}
    write()
    with pytest.raises(DataError, match="tiny is no table: its image holds arrays"):
        data.table("tiny")


def test_prices_and_groups_take_prepared_sets_by_name(home):
    from deeplearn.data.doors import customers as unlabelled
    from deeplearn.data.doors import prices

    gems()
    problem = prices.load(prices.Data(tfds="gems"))
    assert [*problem.table] == ["by", "carat", "cut"] and problem.price[5] == 105 and problem.name == "gems"
    with pytest.raises(DataError, match="gems has no column 'prize'; did you mean 'price'"):
        prices.load(prices.Data(tfds="gems", target="prize"))
    with pytest.raises(DataError, match="gems has a category in 'cut', which should be a number"):
        prices.load(prices.Data(tfds="gems", target="cut"))
    write()
    examples = unlabelled.load(unlabelled.Data(tfds="tiny"))
    assert examples.image.shape == (40, 8, 9, 3) and examples.image.max() <= 1 and len(examples.label) == 40


@pytest.mark.parametrize("train", [True, False])
def test_crops_have_one_size_and_their_own_label(home, train):
    write(shape=(40, 30, 3))
    source = data.crops("tiny", "train", batch=8, size=12, train=train)
    batch = source.at(0)
    assert batch["image"].shape == (8, 12, 12, 3) and batch["image"].dtype == np.uint8
    np.testing.assert_array_equal(batch["label"], batch["index"] % 2)
    np.testing.assert_array_equal(batch["image"], source.at(0)["image"])
    assert source.size == 20 and source.fingerprint()["version"] == "1.0.0"


def test_evaluation_crop_is_the_middle(home):
    assert data._middle_box((256, 256)) == (16, 16, 240, 240)
    rng = np.random.default_rng(0)
    for size in [(500, 375), (20, 400), (7, 7)]:
        for _ in range(50):
            left, top, right, bottom = data._random_box(size, rng)
            assert 0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]


def test_unprepared_sets_are_answered_with_the_command(home):
    with pytest.raises(DataError, match=r"cifar10 is not prepared in .*run: deeplearn data prepare cifar10"):
        data.read("cifar10", "train")
    with pytest.raises(DataError, match=r"tfds build imagenet2012 --file_format=array_record .*ILSVRC2012 archives"):
        data.prepare("imagenet2012")


def test_listing_tells_prepared_from_missing(home):
    write("mnist")
    write()
    lines = data.listing().splitlines()
    assert lines[1].split() == ["mnist", "1.0.0"] and lines[-1].split() == ["tiny", "1.0.0"]
    assert any(line.endswith("run: deeplearn data prepare imagenet2012") for line in lines)


@pytest.mark.parametrize("width", [60, 80])
def test_listing_fits_the_screen_with_paths_and_commands_whole(home, width):
    write()
    whole, narrow = data.listing(), data.listing(width)
    assert narrow.split() == whole.split() and f"{home}:" in narrow.split()
    assert all(len(line) < width for line in narrow.splitlines() if str(home) not in line)
    assert "    deeplearn data prepare ted_hrlr_translate/ru_to_en" in narrow.splitlines()


def test_unknown_split_names_the_known_ones(home):
    write()
    with pytest.raises(DataError, match="tiny has no split 'dev'; it has train, test"):
        data.read("tiny", "dev")


def test_the_newest_version_is_read(home):
    newest = write()
    for version in ("0.9.0", "1.0.0", "10.0.0"):
        (home / f"tiny/{version}").mkdir(exist_ok=True)
        (home / f"tiny/{version}/dataset_info.json").write_text((newest / "dataset_info.json").read_text())
    assert data._folder("tiny").name == "10.0.0" and data._folder("tiny:0.9.0").name == "0.9.0"


@pytest.mark.parametrize("damage", ["foreign", "garbage", "missing"])
def test_features_that_ask_for_foreign_code_are_refused(home, damage):
    path = write() / "features.json"
    text = path.read_text().replace("tensorflow_datasets.core.features.text_feature.Text", "os.path.Evil")
    path.write_text(text if damage == "foreign" else "{")
    if damage == "missing":
        path.unlink()
    with pytest.raises(DataError, match="would import 'os.path.Evil'" if damage == "foreign" else "prepare the data"):
        data.read("tiny", "train")


def test_other_file_formats_are_refused(home):
    path = write() / "dataset_info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"fileFormat": "tfrecord"}))
    with pytest.raises(DataError, match="holds tfrecord files"):
        data.read("tiny", "train")


def idx(array):
    return gzip.compress(struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes())


def tar(content):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in content.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text))
    return file.getvalue()


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_mnist_is_prepared_by_the_stock_builder(home, monkeypatch, name):
    from tensorflow_datasets.image_classification import mnist

    images = {"train": picture(0, (30, 28, 28)), "t10k": picture(1, (10, 28, 28))}
    archive = {}
    for split, image in images.items():
        archive[f"{split}-images-idx3-ubyte.gz"] = idx(image)
        archive[f"{split}-labels-idx1-ubyte.gz"] = idx(np.arange(len(image), dtype=np.uint8) % 10)
    monkeypatch.setattr(mnist, "_TRAIN_EXAMPLES", 30)
    monkeypatch.setattr(mnist, "_TEST_EXAMPLES", 10)
    serve(monkeypatch, home, archive)
    assert data.prepare(name).parent == home / name
    records = data.read(name, "train")
    found = {record["image"].tobytes(): int(record["label"]) for record in (records[i] for i in range(30))}
    assert found == {image.tobytes(): i % 10 for i, image in enumerate(images["train"])}


@pytest.mark.parametrize(("name", "labels"), [("cifar10", 1), ("cifar100", 2)])
def test_cifar_is_prepared_by_the_stock_builder(home, monkeypatch, name, labels):
    rows = {split: picture(len(split), (6, labels + 3072)) for split in ("train", "test")}
    for row in rows.values():
        row[:, :labels] = np.arange(6)[:, None]
    if name == "cifar10":
        content = {f"cifar-10-batches-bin/data_batch_{i}.bin": rows["train"][i : i + 1].tobytes() for i in range(1, 6)}
        content["cifar-10-batches-bin/test_batch.bin"] = rows["test"].tobytes()
        content["cifar-10-batches-bin/batches.meta.txt"] = b"\n".join(b"%d" % i for i in range(10))
    else:
        content = {f"cifar-100-binary/{split}.bin": row.tobytes() for split, row in rows.items()}
        for kind, count in (("coarse", 20), ("fine", 100)):
            content[f"cifar-100-binary/{kind}_label_names.txt"] = b"\n".join(b"%d" % i for i in range(count))
    serve(monkeypatch, home, {f"{name.replace('cifar', 'cifar-')}-binary.tar.gz": tar(content)})
    data.prepare(name)
    expected = rows["train"][1:] if name == "cifar10" else rows["train"]
    records = data.read(name, "train")
    found = {records[i]["image"].tobytes(): int(records[i]["label"]) for i in range(len(records))}
    pixels = expected[:, labels:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    assert found == {image.tobytes(): int(row[labels - 1]) for image, row in zip(pixels, expected, strict=True)}


def test_a_translation_set_is_prepared_by_the_stock_builder(home, monkeypatch):
    lines = {split: [f"{split} line {i}" for i in range(4)] for split in ("train", "dev", "test")}
    content = {
        f"datasets/ru_to_en/{language}.{split}": "\n".join(f"{language} {line}" for line in own).encode()
        for split, own in lines.items()
        for language in ("ru", "en")
    }
    serve(monkeypatch, home, {"qi18naacl-dataset.tar.gz": tar(content)})
    with pytest.raises(DataError, match="name one, such as ted_hrlr_translate/ru_to_en"):
        data.prepare("ted_hrlr_translate")
    data.prepare("ted_hrlr_translate/ru_to_en")
    assert "  ted_hrlr_translate/ru_to_en 1.0.0" in data.listing().splitlines()
    records = data.read("ted_hrlr_translate/ru_to_en", "validation")
    found = {(record["ru"].decode(), record["en"].decode()) for record in (records[i] for i in range(len(records)))}
    assert found == {(f"ru {line}", f"en {line}") for line in lines["dev"]}


def test_wmt14_is_prepared_by_the_stock_builder(home, monkeypatch):
    def both(path, lines):
        return {path.format(code): "\n".join(f"{code} {line}" for line in lines).encode() for code in ("de", "en")}

    def marked(code):
        return f'<doc>\n<seg id="1">{code} tested</seg>\n</doc>'.encode()

    archives = {
        "training-parallel-europarl-v7.tgz": both("training/europarl-v7.de-en.{}", ["parliament"]),
        "training-parallel-commoncrawl.tgz": both("commoncrawl.de-en.{}", ["web"]),
        "training-parallel-nc-v9.tgz": both("training/news-commentary-v9.de-en.{}", ["news"]),
        "dev.tgz": both("dev/newstest2013.{}", ["chosen by"])
        | {"dev/newstest2014-deen-src.de.sgm": marked("de"), "dev/newstest2014-deen-ref.en.sgm": marked("en")},
    }
    serve(monkeypatch, home, {name: tar(content) for name, content in archives.items()})
    data.prepare("wmt14_translate/de-en")
    found = {}
    for split in ("train", "validation", "test"):
        records = data.read("wmt14_translate/de-en", split)
        found[split] = sorted(records[i]["de"].decode() for i in range(len(records)))
        assert found[split] == sorted(records[i]["en"].decode().replace("en", "de", 1) for i in range(len(records)))
    assert found["train"] == ["de news", "de parliament", "de web"]
    assert found["validation"] == ["de chosen by"] and found["test"] == ["de tested"]


def serve(monkeypatch, home, archives):
    """Lets TFDS 'download' these archives by the last part of their address; it unpacks them itself."""
    import tensorflow_datasets as tfds

    for file, content in archives.items():
        (home / file).write_bytes(content)

    def download_and_extract(self, urls):
        if isinstance(urls, dict):
            return {key: download_and_extract(self, url) for key, url in urls.items()}
        if isinstance(urls, list):
            return [download_and_extract(self, url) for url in urls]
        return self.extract(home / urls.rpartition("/")[2])

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", download_and_extract)


def test_a_failed_download_is_one_sentence(home, monkeypatch):
    import tensorflow_datasets as tfds

    def offline(self, urls):
        raise ConnectionError("no route")

    monkeypatch.setattr(tfds.download.DownloadManager, "download_and_extract", offline)
    with pytest.raises(DataError, match=r"cannot prepare cifar10 \(ConnectionError: no route"):
        data.prepare("cifar10")
