from __future__ import annotations

import hashlib
import socket
from pathlib import Path

import numpy as np
import pytest

from mitosam.data.downloads import fetch_file
from mitosam.errors import DownloadError, InputError
from tests.file_server import serve
from tests.tiny_runs import Remembered

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def served():
    with serve({"stack.tif": CONTENT}) as served:
        yield served


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_file_is_fetched_and_its_checksum_told(served, tmp_path, sha256):
    progress = Remembered()
    path = tmp_path / "a" / "stack.tif"
    assert fetch_file(f"{served.url}/stack.tif", path, sha256=sha256, progress=progress) == SHA256
    assert path.read_bytes() == CONTENT
    assert [one.name for one in path.parent.iterdir()] == ["stack.tif"]
    assert progress.loops == ["fetching stack.tif"]


def test_a_file_that_is_there_is_not_fetched_again(served, tmp_path):
    path = tmp_path / "stack.tif"
    path.write_bytes(CONTENT)
    assert fetch_file(f"{served.url}/stack.tif", path, sha256=SHA256) == SHA256
    path.write_bytes(b"other")
    with pytest.raises(InputError, match="remove it and fetch it again"):
        fetch_file(f"{served.url}/stack.tif", path, sha256=SHA256)
    assert not served.asked


def test_a_wrong_checksum_keeps_nothing(served, tmp_path):
    with pytest.raises(DownloadError, match="another sha256 than 0000"):
        fetch_file(f"{served.url}/stack.tif", tmp_path / "stack.tif", sha256="0" * 64)
    assert not list(tmp_path.iterdir())


def test_a_file_that_is_not_there_is_one_line(served, tmp_path):
    with pytest.raises(DownloadError, match="the server answers 404") as raised:
        fetch_file(f"{served.url}/gone.tif", tmp_path / "gone.tif")
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("sends_ranges", [True, False])
def test_a_download_that_was_cut_off_goes_on(served, tmp_path, sends_ranges):
    path, url = tmp_path / "stack.tif", f"{served.url}/stack.tif"
    served.cut_after = 2_200_000
    with pytest.raises(DownloadError, match=r"was cut off after .* run the same command again"):
        fetch_file(url, path, sha256=SHA256)
    held = (tmp_path / "stack.tif.part").stat().st_size
    assert 0 < held <= 2_200_000
    assert not path.exists()
    served.cut_after, served.sends_ranges = None, sends_ranges
    assert fetch_file(url, path, sha256=SHA256) == SHA256
    assert served.asked[-1] == ("stack.tif", f"bytes={held}-")
    assert [one.name for one in tmp_path.iterdir()] == ["stack.tif"]


def test_a_download_that_was_stopped_at_its_last_byte_ends(served, tmp_path, monkeypatch):
    path, url = tmp_path / "stack.tif", f"{served.url}/stack.tif"
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("pathlib.Path.replace", interrupt)
        fetch_file(url, path, sha256=SHA256)
    assert (tmp_path / "stack.tif.part").stat().st_size == len(CONTENT)
    assert fetch_file(url, path, sha256=SHA256) == SHA256
    assert [one.name for one in tmp_path.iterdir()] == ["stack.tif"]


def interrupt(path, target, rename=Path.replace):
    if path.name == "stack.tif.part":
        raise KeyboardInterrupt
    return rename(path, target)


def test_a_file_that_was_changed_meanwhile_is_fetched_from_its_start(served, tmp_path):
    path, url = tmp_path / "stack.tif", f"{served.url}/stack.tif"
    served.cut_after = 2_200_000
    with pytest.raises(DownloadError):
        fetch_file(url, path)
    served.cut_after, served.files["stack.tif"] = None, CONTENT[::-1]
    assert fetch_file(url, path) == hashlib.sha256(CONTENT[::-1]).hexdigest()


def test_a_server_that_sends_without_end_is_stopped(served, tmp_path):
    served.sends_length = False
    with pytest.raises(DownloadError, match="larger than 2000000 bytes"):
        fetch_file(f"{served.url}/stack.tif", tmp_path / "stack.tif", max_bytes=2_000_000)
    assert not (tmp_path / "stack.tif").exists()


def test_a_server_that_is_not_there_is_one_line(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DownloadError, match=f"127.0.0.1:{port}/a.tif cannot be reached") as raised:
        fetch_file(f"http://127.0.0.1:{port}/a.tif", tmp_path / "a.tif")
    assert "object at 0x" not in str(raised.value)


def test_a_file_of_this_machine_is_an_address_too(tmp_path):
    source = tmp_path / "with space.tif"
    source.write_bytes(CONTENT)
    assert fetch_file(source.as_uri(), tmp_path / "b" / "c.tif", sha256=SHA256) == SHA256
    with pytest.raises(DownloadError, match="does not exist"):
        fetch_file((tmp_path / "none.tif").as_uri(), tmp_path / "d.tif")
