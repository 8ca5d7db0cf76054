from __future__ import annotations

import errno
import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mitosam.errors import OutputExistsError, OutputInUseError, StorageError
from mitosam.storage import (
    atomic_folder,
    atomic_path,
    require_new_folder,
    sha256_of_file,
    sole_writer,
    write_text,
)
from tests.other_process import writing_to


def test_a_file_appears_whole_with_its_parents_and_the_usual_rights(tmp_path):
    path = tmp_path / "a" / "b" / "c.txt"
    write_text(path, "µ")
    assert path.read_bytes() == "µ".encode()
    assert [item.name for item in path.parent.iterdir()] == ["c.txt"]
    (tmp_path / "plain").write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


def test_the_temporary_name_keeps_the_suffix(tmp_path):
    with atomic_path(tmp_path / "a.tif") as temporary:
        assert temporary.suffix == ".tif"
        assert temporary.name.startswith(".")


def fail_half_way(path, failure):
    with atomic_path(path) as temporary:
        temporary.write_text("half")
        raise failure


@pytest.mark.parametrize("failure", [ValueError, KeyboardInterrupt])
def test_whatever_goes_wrong_the_old_file_stays_and_the_new_one_goes(tmp_path, failure):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(failure):
        fail_half_way(path, failure)
    assert path.read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_becomes_a_storage_error_with_a_way_out(tmp_path):
    with (
        pytest.raises(StorageError, match=r"a.txt cannot be written: .*free some space"),
        atomic_path(tmp_path / "a.txt"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert not list(tmp_path.iterdir())


def test_other_file_errors_pass_through(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "nowhere").read_text()


def test_a_parent_that_is_a_file_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_text(tmp_path / "file" / "a.txt", "x")


def test_a_new_folder_is_made_and_a_full_one_refused(tmp_path):
    folder = require_new_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert require_new_folder(folder) == folder
    (folder / "x").write_text("")
    with pytest.raises(OutputExistsError, match="exists already; choose another --out"):
        require_new_folder(folder)
    with pytest.raises(OutputExistsError):
        require_new_folder(folder / "x")


def test_of_two_writers_of_one_folder_the_first_to_end_wins_and_the_other_is_told(tmp_path):
    out = tmp_path / "out"
    with (
        pytest.raises(OutputExistsError, match="made by another process meanwhile; choose"),
        atomic_folder(out) as slow,
    ):
        (slow / "a").write_text("slow")
        with atomic_folder(out) as quick:
            (quick / "a").write_text("quick")
    assert (out / "a").read_text() == "quick"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_hash_is_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of_file(tmp_path / "a") == hashlib.sha256(b"abc").hexdigest()


def write_in_turn(folder):
    with sole_writer(folder):
        return sorted(path.name.partition("-")[0] for path in folder.parent.iterdir())


def test_two_processes_do_not_write_to_one_folder(tmp_path):
    out = tmp_path / "out"
    with writing_to(out) as other:
        with pytest.raises(OutputInUseError, match=rf"out is being written by .*{other.pid}\)"):
            write_in_turn(out)
        assert write_in_turn(tmp_path / "other") == [".other.lock", ".out.lock"]
    assert write_in_turn(out) == [".out.lock"]
    assert not list(tmp_path.iterdir())


def test_a_killed_process_leaves_nothing_locked(tmp_path):
    with writing_to(tmp_path / "out") as other:
        other.kill()
        other.wait()
        assert len(list(tmp_path.glob(".out.lock-*"))) == 1
        assert write_in_turn(tmp_path / "out") == [".out.lock"]
    assert not list(tmp_path.iterdir())


def test_a_block_within_a_block_is_the_same_writer_and_another_thread_is_not(tmp_path):
    out = tmp_path / "out"
    with sole_writer(out), ThreadPoolExecutor(1) as threads:
        assert write_in_turn(out) == [".out.lock"]
        assert write_in_turn(Path(os.path.relpath(out))) == [".out.lock"]
        with pytest.raises(OutputInUseError, match=str(os.getpid())):
            threads.submit(write_in_turn, out).result()
    assert not list(tmp_path.iterdir())


def test_where_no_lock_can_be_made_nothing_is_locked(tmp_path):
    (tmp_path / "file").write_text("")
    with sole_writer(tmp_path / "file" / "out"):
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
