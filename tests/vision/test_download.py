"""Downloads against a server on the loopback address: checksums, mirrors, broken connections, archives."""

from __future__ import annotations

import gzip
import hashlib
import io
import socket
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from flambeau.vision.datasets import MNIST, utils


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        served = self.server.files.get(self.path)
        self.server.asked.append(self.path)
        if served is None:
            self.send_error(404)
            return
        self.send_response(200)
        cut = self.path.endswith(".cut")
        self.send_header("Content-Length", str(len(served) * (2 if cut else 1)))
        self.end_headers()
        self.wfile.write(served)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.files, server.asked = {}, []
    server.url = f"http://127.0.0.1:{server.server_address[1]}/"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def idx(array: np.ndarray) -> bytes:
    """A uint8 array in the IDX format, compressed."""
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.astype(np.uint8).tobytes())


def test_download_url_writes_the_file_once(server, tmp_path):
    server.files["/a.bin"] = b"payload"
    utils.download_url(server.url + "a.bin", tmp_path / "new", md5=md5(b"payload"))
    utils.download_url(server.url + "a.bin", tmp_path / "new", md5=md5(b"payload"))
    assert (tmp_path / "new" / "a.bin").read_bytes() == b"payload"
    assert server.asked == ["/a.bin"]
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.bin"]


def test_a_damaged_file_is_fetched_again(server, tmp_path):
    server.files["/a.bin"] = b"payload"
    (tmp_path / "a.bin").write_bytes(b"payl")
    utils.download_url(server.url + "a.bin", tmp_path, md5=md5(b"payload"))
    assert (tmp_path / "a.bin").read_bytes() == b"payload"


def one_line(error: pytest.ExceptionInfo) -> str:
    """The error's text, which must be one line without a chain of other errors behind it."""
    text = str(error.value)
    assert "\n" not in text
    assert error.value.__cause__ is None and error.value.__context__ is None
    return text


def test_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    server.files["/a.bin"] = b"something else"
    with pytest.raises(RuntimeError, match="File not found or corrupted") as error:
        utils.download_url(server.url + "a.bin", tmp_path, md5=md5(b"payload"))
    one_line(error)
    assert list(tmp_path.iterdir()) == []


def test_wrong_checksum_keeps_what_was_there(server, tmp_path):
    server.files["/a.bin"] = b"something else"
    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(RuntimeError):
        utils.download_url(server.url + "a.bin", tmp_path, md5=md5(b"payload"))
    assert (tmp_path / "a.bin").read_bytes() == b"old"


def test_a_connection_that_breaks_off_is_an_error(server, tmp_path):
    server.files["/a.cut"] = b"half"
    with pytest.raises(RuntimeError, match="after 4 of 8 bytes|IncompleteRead") as error:
        utils.download_url(server.url + "a.cut", tmp_path)
    one_line(error)
    assert list(tmp_path.iterdir()) == []


def test_missing_file_names_address_and_status(server, tmp_path):
    with pytest.raises(RuntimeError, match="/none failed: the server answered 404") as error:
        utils.download_url(server.url + "none", tmp_path)
    one_line(error)


def test_no_network_is_one_line(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/"  # nothing listens there
    with pytest.raises(RuntimeError, match="no connection") as error:
        utils.download_url(url + "a.bin", tmp_path)
    assert url in one_line(error)


@pytest.fixture
def tiny_mnist(server, monkeypatch):
    """A MNIST of three images, served under the server's /good/."""
    images = np.arange(3 * 28 * 28).reshape(3, 28, 28) % 251
    files = {
        "train-images-idx3-ubyte.gz": idx(images),
        "train-labels-idx1-ubyte.gz": idx(np.array([7, 0, 9])),
        "t10k-images-idx3-ubyte.gz": idx(images[:1]),
        "t10k-labels-idx1-ubyte.gz": idx(np.array([4])),
    }
    server.files |= {f"/good/{name}": data for name, data in files.items()}
    monkeypatch.setattr(MNIST, "resources", [(name, md5(data)) for name, data in files.items()])
    return images


def test_mnist_downloads_unpacks_and_tries_the_next_mirror(server, tiny_mnist, monkeypatch, tmp_path):
    monkeypatch.setattr(MNIST, "mirrors", [server.url + "gone/", server.url + "good/"])
    dataset = MNIST(tmp_path, download=True)
    assert len(dataset) == 3 and dataset[2][1] == 9
    assert np.array_equal(np.asarray(dataset[1][0]), tiny_mnist[1])
    raw = tmp_path / "MNIST" / "raw"
    assert sorted(p.name for p in raw.iterdir() if p.suffix != ".gz") == [
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
    ]
    asked = len(server.asked)
    assert len(MNIST(tmp_path, train=False, download=True)) == 1
    assert len(server.asked) == asked


def test_mnist_without_any_mirror_is_one_line(server, tiny_mnist, monkeypatch, tmp_path):
    monkeypatch.setattr(MNIST, "mirrors", [server.url + "gone/"])
    with pytest.raises(RuntimeError, match="Error downloading train-images-idx3-ubyte.gz") as error:
        MNIST(tmp_path, download=True)
    one_line(error)


# -- archives --------------------------------------------------------------------------------------------------


def tar_bytes(names: list[str], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = len(name)
            archive.addfile(info, io.BytesIO(name.encode()))
    return buffer.getvalue()


@pytest.mark.parametrize("suffix, mode", [(".tar", "w"), (".tar.gz", "w:gz"), (".tgz", "w:gz"), (".tar.xz", "w:xz")])
def test_extract_tar(tmp_path, suffix, mode):
    archive = tmp_path / f"a{suffix}"
    archive.write_bytes(tar_bytes(["x.txt", "sub/y.txt"], mode))
    utils.extract_archive(archive, tmp_path / "out", remove_finished=True)
    assert (tmp_path / "out" / "sub" / "y.txt").read_text() == "sub/y.txt"
    assert not archive.exists()


@pytest.mark.parametrize("name", ["../outside.txt", "/absolute.txt", "sub/../../outside.txt"])
def test_a_tar_cannot_write_outside(tmp_path, name):
    archive = tmp_path / "a.tar.gz"
    archive.write_bytes(tar_bytes([name]))
    with pytest.raises(RuntimeError, match="refusing to extract"):
        utils.extract_archive(archive, tmp_path / "out")
    assert not (tmp_path / "outside.txt").exists()


def test_extract_zip_and_gz(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("sub/x.txt", "text")
    utils.extract_archive(tmp_path / "a.zip", tmp_path / "out")
    assert (tmp_path / "out" / "sub" / "x.txt").read_text() == "text"
    (tmp_path / "b.txt.gz").write_bytes(gzip.compress(b"text"))
    utils.extract_archive(tmp_path / "b.txt.gz")
    assert (tmp_path / "b.txt").read_bytes() == b"text"


def test_unknown_archives_are_refused():
    with pytest.raises(RuntimeError, match="Unknown compression or archive type: '.rar'"):
        utils.extract_archive("a.rar", "out")
    with pytest.raises(RuntimeError, match="has no suffixes"):
        utils.extract_archive("archive", "out")


def test_verify_str_arg():
    assert utils.verify_str_arg("a", "x", ("a", "b")) == "a"
    with pytest.raises(ValueError, match=r"Unknown value 'c' for argument x. Valid values are \{'a', 'b'\}."):
        utils.verify_str_arg("c", "x", ("a", "b"))
    with pytest.raises(ValueError, match="Expected type str for argument x, but got type <class 'int'>."):
        utils.verify_str_arg(1, "x", ("a", "b"))
