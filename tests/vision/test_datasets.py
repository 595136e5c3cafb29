"""The data sets: layouts on disk, what they hold, how they print, and what they say of bad data."""

from __future__ import annotations

import gzip
import hashlib
import os
import pickle

import numpy as np
import pytest
from PIL import Image

import flambeau as torch
from flambeau.vision import datasets, transforms
from flambeau.vision.datasets import folder, mnist
from flambeau.vision.datasets.cifar import read_batch


def idx_bytes(array: np.ndarray, code: int) -> bytes:
    return bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


# -- MNIST and its relatives -----------------------------------------------------------------------------------


@pytest.fixture(params=["plain", "gz"])
def tiny_root(request, tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.random.default_rng(0).integers(0, 256, (5, 28, 28), np.uint8)
    labels = np.array([3, 1, 4, 1, 5], np.uint8)
    for part in ("train", "t10k"):
        for name, array in ((f"{part}-images-idx3-ubyte", images), (f"{part}-labels-idx1-ubyte", labels)):
            data = idx_bytes(array, 8)
            if request.param == "gz":
                (raw / f"{name}.gz").write_bytes(gzip.compress(data))
            else:
                (raw / name).write_bytes(data)
    return tmp_path, images


def test_mnist_reads_plain_and_compressed_files(tiny_root):
    root, images = tiny_root
    dataset = datasets.MNIST(root)
    assert dataset.data.dtype == torch.uint8 and dataset.data.shape == (5, 28, 28)
    assert dataset.targets.dtype == torch.int64 and dataset.targets.tolist() == [3, 1, 4, 1, 5]
    image, label = dataset[2]
    assert image.mode == "L" and np.array_equal(np.asarray(image), images[2])
    assert label == 4 and type(label) is int
    assert dataset.classes[3] == "3 - three" and dataset.class_to_idx["9 - nine"] == 9


def test_mnist_prints_as_torchvision(tiny_root):
    root, _ = tiny_root
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    dataset = datasets.MNIST(str(root), train=False, transform=transform, target_transform=transforms.Lambda(int))
    assert repr(dataset) == (
        "Dataset MNIST\n"
        "    Number of datapoints: 5\n"
        f"    Root location: {root}\n"
        "    Split: Test\n"
        "    StandardTransform\n"
        "Transform: Compose(\n"
        "               ToTensor()\n"
        "               Normalize(mean=(0.5,), std=(0.5,))\n"
        "           )\n"
        "Target transform: Lambda()"
    )


def test_mnist_missing(tmp_path):
    with pytest.raises(RuntimeError, match="Dataset not found. You can use download=True to download it"):
        datasets.MNIST(tmp_path)


def test_mnist_old_names_warn(tiny_root):
    dataset = datasets.MNIST(tiny_root[0])
    with pytest.warns(UserWarning, match="train_labels has been renamed targets"):
        assert torch.equal(dataset.train_labels, dataset.targets)
    with pytest.warns(UserWarning, match="test_data has been renamed data"):
        assert torch.equal(dataset.test_data, dataset.data)


def test_transforms_of_samples(tiny_root):
    dataset = datasets.MNIST(tiny_root[0], transform=transforms.ToTensor(), target_transform=lambda t: -t)
    image, label = dataset[0]
    assert image.shape == (1, 28, 28) and image.dtype == torch.float32 and label == -3


def test_transforms_exclude_transform():
    with pytest.raises(ValueError, match="Only transforms or transform/target_transform can be passed as argument"):
        datasets.VisionDataset("x", transforms=lambda a, b: (a, b), transform=lambda a: a)


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda data: data[:-1], "is damaged: 3919 bytes do not hold uint8 of shape"),
        (lambda data: data + b"x", "is damaged"),
        (lambda data: data[:9], "is damaged"),
        (lambda data: b"", "is not an IDX file"),
        (lambda data: b"<html>404</html>", "is not an IDX file"),
        (lambda data: data[:3] + b"\x02" + data[4:], "holds an array of 2 dimensions, 3 were expected"),
        (lambda data: data[:4] + b"\xff" * 12 + data[16:], "is damaged"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path, damage, message):
    path = tmp_path / "images"
    path.write_bytes(damage(idx_bytes(np.zeros((5, 28, 28), np.uint8), 8)))
    with pytest.raises(ValueError, match=message) as error:
        mnist.read_image_file(path)
    assert str(path) in str(error.value)


def test_damaged_compression_is_named(tmp_path):
    data = gzip.compress(idx_bytes(np.zeros((5, 28, 28), np.uint8), 8))
    (tmp_path / "images.gz").write_bytes(data[:-9])
    with pytest.raises(ValueError, match="images.gz is damaged"):
        mnist.read_image_file(tmp_path / "images")


def test_idx_dtypes(tmp_path):
    for code, dtype, expected in ((11, ">i2", torch.int16), (12, ">i4", torch.int32), (14, ">f8", torch.float64)):
        array = np.array([[1, -2, 3], [4, 5, -600]], dtype)
        (tmp_path / "a").write_bytes(idx_bytes(array, code))
        tensor = mnist.read_sn3_pascalvincent_tensor(tmp_path / "a")
        assert tensor.dtype == expected and tensor.tolist() == array.tolist()


def test_labels_of_another_dtype(tmp_path):
    (tmp_path / "a").write_bytes(idx_bytes(np.zeros(3, ">i4"), 12))
    with pytest.raises(TypeError, match="x should be of dtype torch.uint8 instead of torch.int32"):
        mnist.read_label_file(tmp_path / "a")


def test_emnist_and_qmnist_layouts(tmp_path):
    raw = tmp_path / "EMNIST" / "raw"
    raw.mkdir(parents=True)
    images = np.zeros((2, 28, 28), np.uint8)
    (raw / "emnist-letters-train-images-idx3-ubyte").write_bytes(idx_bytes(images, 8))
    (raw / "emnist-letters-train-labels-idx1-ubyte").write_bytes(idx_bytes(np.array([1, 26], np.uint8), 8))
    letters = datasets.EMNIST(tmp_path, split="letters")
    assert letters.targets.tolist() == [1, 26] and letters.classes[26] == "z" and len(letters.classes) == 27
    assert len(datasets.EMNIST.classes_split_dict["balanced"]) == 47
    with pytest.raises(ValueError, match="Unknown value 'greek' for argument split"):
        datasets.EMNIST(tmp_path, split="greek")

    raw = tmp_path / "QMNIST" / "raw"
    raw.mkdir(parents=True)
    rows = np.arange(16, dtype=">i4").reshape(2, 8)
    (raw / "qmnist-train-images-idx3-ubyte").write_bytes(idx_bytes(images, 8))
    (raw / "qmnist-train-labels-idx2-int").write_bytes(idx_bytes(rows, 12))
    assert datasets.QMNIST(tmp_path)[1][1] == 8
    assert datasets.QMNIST(tmp_path, compat=False)[1][1].tolist() == list(range(8, 16))
    assert "Split: train" in repr(datasets.QMNIST(tmp_path))


@pytest.mark.parametrize("kind", ["MNIST", "FashionMNIST"])
def test_full_mnist(kind, full_data):
    root = full_data(kind)
    dataset = getattr(datasets, kind)(root, train=False)
    assert dataset.data.shape == (10000, 28, 28)
    assert np.bincount(dataset.targets.numpy()).min() >= 892
    mean = dataset.data.numpy().mean() / 255
    assert mean == pytest.approx({"MNIST": 0.1325, "FashionMNIST": 0.2868}[kind], abs=1e-3)
    for name, md5 in dataset.resources:
        data = (root / kind / "raw" / name).read_bytes()
        assert hashlib.md5(data, usedforsecurity=False).hexdigest() == md5


# -- CIFAR -----------------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_cifar(tmp_path, monkeypatch):
    """A CIFAR-10 with batches of two images, with checksums to match."""
    base = tmp_path / "cifar-10-batches-py"
    base.mkdir()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 3072), np.uint8)

    def write(name, content):
        data = pickle.dumps(content, protocol=2)
        (base / name).write_bytes(data)
        return hashlib.md5(data, usedforsecurity=False).hexdigest()

    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    entries = [
        [name, write(name, {b"data": images[2 * i : 2 * i + 2], b"labels": [i, 9]})] for i, name in enumerate(names)
    ]
    labels = [f"class {i}" for i in range(10)]
    md5 = write("batches.meta", {"label_names": labels, "num_vis": 3072})
    monkeypatch.setattr(datasets.CIFAR10, "train_list", entries[:5])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", entries[5:])
    monkeypatch.setattr(datasets.CIFAR10, "meta", {"filename": "batches.meta", "key": "label_names", "md5": md5})
    return tmp_path, images


def test_cifar_layout(tiny_cifar):
    root, images = tiny_cifar
    dataset = datasets.CIFAR10(root)
    assert dataset.data.shape == (10, 32, 32, 3) and dataset.data.dtype == np.uint8
    assert dataset.targets == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9]
    image, label = dataset[3]
    assert image.mode == "RGB" and label == 9
    assert np.array_equal(np.asarray(image), images[3].reshape(3, 32, 32).transpose(1, 2, 0))
    assert dataset.classes[2] == "class 2" and dataset.class_to_idx["class 7"] == 7
    test = datasets.CIFAR10(root, train=False)
    assert len(test) == 2 and "Split: Test" in repr(test)


def test_cifar_missing_and_corrupted(tiny_cifar, tmp_path):
    with pytest.raises(RuntimeError, match="Dataset not found or corrupted. You can use download=True"):
        datasets.CIFAR10(tmp_path / "nowhere")
    path = tmp_path / "cifar-10-batches-py" / "data_batch_2"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(RuntimeError, match="Dataset not found or corrupted"):
        datasets.CIFAR10(tmp_path)


def test_cifar_missing_metadata(tiny_cifar, tmp_path):
    os.unlink(tmp_path / "cifar-10-batches-py" / "batches.meta")
    with pytest.raises(RuntimeError, match="Dataset metadata file not found or corrupted"):
        datasets.CIFAR10(tmp_path)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("made-by-a-pickle",)


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps({"data": Evil()}),
        pickle.dumps([1, 2]),
        pickle.dumps({"data": np.zeros(3)}),
        pickle.dumps({"data": np.array([Evil()], object)}),
        pickle.dumps({"data": np.zeros(3, np.uint8)})[:-20],
        b"",
        b"not a pickle",
        b"\x80\x02cnumpy\nndarray\n(tR.",
    ],
)
def test_batches_cannot_run_code(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "batch").write_bytes(content)
    with pytest.raises(RuntimeError, match="is not a data batch"):
        read_batch(tmp_path / "batch")
    assert not (tmp_path / "made-by-a-pickle").exists()


def test_batch_with_a_lying_shape(tmp_path):
    good = pickle.dumps({"data": np.zeros((2, 3), np.uint8)}, protocol=2)
    assert read_batch_of(tmp_path, good)["data"].shape == (2, 3)
    lying = good.replace(b"K\x02K\x03\x86", b"K\x02K\x7f\x86")
    assert lying != good
    with pytest.raises(RuntimeError, match="only whole arrays of unsigned bytes"):
        read_batch_of(tmp_path, lying)


def read_batch_of(tmp_path, content):
    (tmp_path / "batch").write_bytes(content)
    return read_batch(tmp_path / "batch")


def test_full_cifar10(full_data):
    root = full_data("cifar-10-batches-py")
    dataset = datasets.CIFAR10(root, train=False)
    assert dataset.data.shape == (10000, 32, 32, 3)
    assert np.bincount(dataset.targets).tolist() == [1000] * 10
    assert dataset.classes[:4] == ["airplane", "automobile", "bird", "cat"]
    assert dataset[0][1] == 3 and dataset.data.mean() == pytest.approx(121.5, abs=0.5)


# -- STL10 and SVHN --------------------------------------------------------------------------------------------


@pytest.fixture
def tiny_stl10(tmp_path, monkeypatch):
    base = tmp_path / "stl10_binary"
    base.mkdir()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 3, 96, 96), np.uint8)
    files = {
        "train_X.bin": images[:2],
        "train_y.bin": np.array([1, 10], np.uint8),
        "unlabeled_X.bin": images[2:4],
        "test_X.bin": images[4:],
        "test_y.bin": np.array([3], np.uint8),
    }
    for name, array in files.items():
        (base / name).write_bytes(array.tobytes())
    (base / "class_names.txt").write_text("airplane\nbird\n")
    (base / "fold_indices.txt").write_text("1\n0 1\n")
    entries = [[n, hashlib.md5(a.tobytes(), usedforsecurity=False).hexdigest()] for n, a in files.items()]
    monkeypatch.setattr(datasets.STL10, "train_list", entries[:3])
    monkeypatch.setattr(datasets.STL10, "test_list", entries[3:])
    return tmp_path, images


def test_stl10(tiny_stl10):
    root, images = tiny_stl10
    both = datasets.STL10(root, split="train+unlabeled")
    assert both.labels.tolist() == [0, 9, -1, -1] and both.classes == ["airplane", "bird"]
    image, label = both[1]
    assert label == 9 and np.array_equal(np.asarray(image), images[1].transpose(2, 1, 0))
    assert datasets.STL10(root, folds=0).labels.tolist() == [9]
    assert datasets.STL10(root, split="test")[0][1] == 2 and "Split: test" in repr(datasets.STL10(root, "test"))
    with pytest.raises(ValueError, match=r"Value for argument folds should be in the range \[0, 10\), but got 10."):
        datasets.STL10(root, folds=10)
    with pytest.raises(ValueError, match="Unknown value 'all' for argument split"):
        datasets.STL10(root, split="all")
    (root / "stl10_binary" / "test_y.bin").write_bytes(b"x")
    with pytest.raises(RuntimeError, match="Dataset not found or corrupted"):
        datasets.STL10(root)


def test_svhn(tmp_path, monkeypatch):
    scipy_io = pytest.importorskip("scipy.io")
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    path = tmp_path / "train_32x32.mat"
    scipy_io.savemat(path, {"X": images.transpose(1, 2, 3, 0), "y": np.array([[1], [10], [9]], np.uint8)})
    digest = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(datasets.SVHN, "split_list", {"train": ["http://nowhere.invalid/x", path.name, digest]})
    dataset = datasets.SVHN(tmp_path)
    assert dataset.labels.tolist() == [1, 0, 9] and dataset.data.shape == (3, 3, 32, 32)
    assert np.array_equal(np.asarray(dataset[2][0]), images[2]) and dataset[1][1] == 0
    with pytest.raises(RuntimeError, match="Dataset not found or corrupted"):
        datasets.SVHN(tmp_path / "nowhere")


# -- folders ---------------------------------------------------------------------------------------------------


@pytest.fixture
def image_root(tmp_path):
    root = tmp_path / "pets"
    for index, name in enumerate(["cat/b.png", "cat/a.JPG", "cat/deep/c.bmp", "dog/x.webp", "dog/notes.txt"]):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("no image")
        else:
            Image.new("L" if index == 0 else "RGB", (4, 3), index * 20).save(path)
    (root / "readme.txt").write_text("not a class")
    return root


def test_image_folder(image_root):
    dataset = datasets.ImageFolder(image_root)
    assert dataset.classes == ["cat", "dog"] and dataset.class_to_idx == {"cat": 0, "dog": 1}
    names = [(os.path.relpath(path, image_root), target) for path, target in dataset.samples]
    assert names == [("cat/a.JPG", 0), ("cat/b.png", 0), ("cat/deep/c.bmp", 0), ("dog/x.webp", 1)]
    assert dataset.imgs is dataset.samples and dataset.targets == [0, 0, 0, 1]
    image, target = dataset[1]
    assert image.mode == "RGB" and image.size == (4, 3) and target == 0
    assert repr(dataset) == f"Dataset ImageFolder\n    Number of datapoints: 4\n    Root location: {image_root}"


def test_image_folder_as_tensors(image_root):
    dataset = datasets.ImageFolder(str(image_root), transform=transforms.ToTensor())
    assert dataset[3][0].shape == (3, 3, 4)


def test_dataset_folder_with_own_loader(image_root):
    def read(path):
        with open(path) as file:
            return file.read()

    dataset = datasets.DatasetFolder(image_root, loader=read, extensions=(".txt",), allow_empty=True)
    assert dataset[0] == ("no image", 1) and len(dataset) == 1
    by_function = datasets.DatasetFolder(
        image_root, loader=str, is_valid_file=lambda path: os.path.basename(path) in ("a.JPG", "notes.txt")
    )
    assert by_function.targets == [0, 1]


def test_folder_errors(image_root, tmp_path):
    with pytest.raises(FileNotFoundError, match="No such file or directory"):
        datasets.ImageFolder(tmp_path / "nothing")
    (tmp_path / "flat").mkdir()
    with pytest.raises(FileNotFoundError, match=r"Couldn't find any class folder in .*flat\."):
        datasets.ImageFolder(tmp_path / "flat")
    (image_root / "bird").mkdir()
    (image_root / "ant").mkdir()
    with pytest.raises(FileNotFoundError) as error:
        datasets.ImageFolder(image_root)
    assert str(error.value) == (
        "Found no valid file for the classes ant, bird. Supported extensions are: "
        ".jpg, .jpeg, .png, .ppm, .bmp, .pgm, .tif, .tiff, .webp"
    )
    assert len(datasets.ImageFolder(image_root, allow_empty=True).classes) == 4
    for kwargs in ({}, {"extensions": (".png",), "is_valid_file": lambda path: True}):
        with pytest.raises(ValueError, match="Both extensions and is_valid_file cannot be None or not None"):
            datasets.DatasetFolder(image_root, loader=str, **kwargs)
    with pytest.raises(ValueError, match="must have at least one entry to collect any samples"):
        folder.make_dataset(image_root, {}, extensions=(".png",))


def test_corrupt_images_are_named(image_root):
    (image_root / "cat" / "a.JPG").write_bytes(b"\xff\xd8\xff\xe0garbage")
    (image_root / "cat" / "b.png").write_bytes((image_root / "cat" / "b.png").read_bytes()[:-30])
    dataset = datasets.ImageFolder(image_root)
    for index, name in ((0, "a.JPG"), (1, "b.png")):
        with pytest.raises(OSError, match=f"cannot read image .*{name}"):
            dataset[index]


# -- FakeData and Digits ---------------------------------------------------------------------------------------


def test_fake_data_is_the_same_each_time_and_leaves_the_stream_alone():
    torch.manual_seed(5)
    expected = torch.rand(2)
    torch.manual_seed(5)
    dataset = datasets.FakeData(size=4, image_size=(3, 6, 5), num_classes=7, random_offset=2)
    first, target = dataset[1]
    assert torch.equal(torch.rand(2), expected)
    again, same = dataset[1]
    assert first.size == (5, 6) and np.array_equal(first, again) and target == same and 0 <= target < 7
    with pytest.raises(IndexError, match="FakeData index out of range"):
        dataset[4]

    torch.manual_seed(3)
    image = transforms.ToPILImage()(torch.randn(3, 6, 5))
    assert np.array_equal(first, image) and target == torch.randint(0, 7, (1,)).item()


def test_digits():
    train, test = datasets.Digits(), datasets.Digits(train=False)
    assert (len(train), len(test)) == (1442, 355)
    assert train.data.dtype == torch.uint8 and train.data.shape == (1442, 8, 8)
    assert train.data.min() == 0 and train.data.max() == 255
    assert np.bincount(test.targets.numpy()).tolist() == [35, 36, 35, 36, 36, 36, 36, 35, 34, 36]
    assert train.classes == list("0123456789") and train.class_to_idx["7"] == 7
    image, label = test[0]
    assert image.mode == "L" and image.size == (8, 8) and type(label) is int
    assert "Split: Test" in repr(test) and "Root location" not in repr(test)
    # No test image is a training image.
    seen = {row.tobytes() for row in train.data.numpy()}
    assert sum(row.tobytes() in seen for row in test.data.numpy()) == 0
    # The first image of the source is the well-known zero, scaled from 0..16 to 0..255.
    assert train.data[0, 0].tolist() == [round(v * 255 / 16) for v in (0, 0, 5, 13, 9, 1, 0, 0)]


def test_datasets_pickle_for_spawned_workers(image_root):
    dataset = datasets.ImageFolder(image_root, transform=transforms.Compose([transforms.ToTensor()]))
    assert torch.equal(pickle.loads(pickle.dumps(dataset))[0][0], dataset[0][0])
    digits = pickle.loads(pickle.dumps(datasets.Digits(train=False)))
    assert len(digits) == 355 and digits[3][1] == datasets.Digits(train=False)[3][1]
