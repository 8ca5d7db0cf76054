from __future__ import annotations

import logging
import os
import time

import numpy as np
import pytest
from safetensors.numpy import save

from mitosam.embeddings import (
    CacheSettings,
    EmbeddingCache,
    Tile,
    cache_folder,
    clear_cache,
    list_cache,
)
from mitosam.errors import StorageError
from mitosam.geometry import ModelFrame
from tests.full_disk import no_file_above

FRAME = ModelFrame((0, 0), 8, 16)
SHAPE = (4, 16, 16)
EMBEDDING_BYTES = 2 * 4 * 16 * 16


class Encoder:
    """Encodes a tile as its mean, keeps count, and fails when it was told to."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.num_calls = 0
        self.fail_at = fail_at

    def __call__(self, pixels, frame):
        if self.num_calls == self.fail_at:
            raise KeyboardInterrupt
        self.num_calls += 1
        return np.full(SHAPE, pixels.mean() / 255)


def open_cache(folder, encode=None, **changes):
    settings = CacheSettings(folder=folder, limit_gb=changes.pop("limit_gb", 1))
    values = {"model_name": "tiny", "weights_hash": "ab" * 32, "precision": "fp32"} | changes
    return EmbeddingCache(settings, encode=encode or Encoder(), **values)


def tile(value, frame=FRAME):
    return Tile(frame=frame, read=lambda: np.full((8, 8), value, np.uint8))


def tiles(count, start=0):
    return [tile(value) for value in range(start, start + count)]


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_what_was_encoded_comes_back_in_half_precision_and_in_order(tmp_path):
    cache = open_cache(tmp_path)
    keys = cache.fill(tiles(3))
    for value, key in enumerate(keys):
        embedding = cache.load(key)
        assert embedding.dtype == np.float16
        assert np.array_equal(embedding, np.full(SHAPE, value / 255, np.float16))


def test_each_tile_is_encoded_once_also_by_another_cache_of_the_same_model(tmp_path):
    first, second = Encoder(), Encoder()
    keys = open_cache(tmp_path, first).fill([*tiles(3), *tiles(3)])
    assert first.num_calls == 3
    assert keys[:3] == keys[3:]
    assert open_cache(tmp_path, second).fill(tiles(3)) == keys[:3]
    assert second.num_calls == 0


@pytest.mark.parametrize("stage", ["encoding", "writing"])
def test_a_killed_fill_leaves_nothing_half_done_and_goes_on_where_it_stopped(
    tmp_path, stage, monkeypatch
):
    if stage == "encoding":
        with pytest.raises(KeyboardInterrupt):
            open_cache(tmp_path, Encoder(fail_at=3)).fill(tiles(5))
    else:
        open_cache(tmp_path).fill(tiles(3))
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "fsync", interrupt)  # between writing and renaming
            open_cache(tmp_path).fill(tiles(5))
    assert len(files(tmp_path)) == 3
    encoder = Encoder()
    cache = open_cache(tmp_path, encoder)
    keys = cache.fill(tiles(5))
    assert encoder.num_calls == 2
    assert [cache.load(key)[0, 0, 0] for key in keys] == [np.float16(v / 255) for v in range(5)]


def interrupt(*_):
    raise KeyboardInterrupt


def cut_short(content):
    return content[:-10]


def emptied(_):
    return b""


def overwritten_head(content):
    return b"\xff" * 20 + content[20:]


def other_content(_):
    return b"not an embedding at all, but long enough to look like one"


@pytest.mark.parametrize("damage", [cut_short, emptied, overwritten_head, other_content])
def test_a_damaged_file_is_encoded_again_and_said(tmp_path, damage, caplog):
    open_cache(tmp_path).fill(tiles(3))
    victim = files(tmp_path)[1]
    content = victim.read_bytes()
    victim.write_bytes(damage(content))
    encoder = Encoder()
    with caplog.at_level(logging.WARNING):
        open_cache(tmp_path, encoder).fill(tiles(3))
    assert encoder.num_calls == 1
    assert victim.read_bytes() == content
    assert "is damaged and will be encoded again" in caplog.text


@pytest.mark.parametrize(
    "change",
    [
        {"weights_hash": "cd" * 32},
        {"precision": "bf16"},
    ],
)
def test_another_model_or_precision_shares_nothing(tmp_path, change):
    keys = open_cache(tmp_path).fill(tiles(2))
    encoder = Encoder()
    others = open_cache(tmp_path, encoder, **change).fill(tiles(2))
    assert encoder.num_calls == 2
    assert not set(keys) & set(others)


def test_the_key_names_pixels_their_shape_and_the_scale_but_not_the_place(tmp_path):
    cache = open_cache(tmp_path)
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    changed = pixels.copy()
    changed[7, 7] += 1
    keys = {
        cache.key(pixels, FRAME),
        cache.key(changed, FRAME),
        cache.key(pixels.reshape(4, 16), FRAME),
        cache.key(pixels, ModelFrame((0, 0), 9, 16)),
        cache.key(pixels, ModelFrame((0, 0), 8, 32)),
    }
    assert len(keys) == 5
    assert cache.key(pixels, ModelFrame((64, 32), 8, 16)) == cache.key(pixels, FRAME)
    assert cache.key(np.asfortranarray(pixels), FRAME) == cache.key(pixels, FRAME)


def test_what_was_unused_for_longest_goes_first_and_a_look_counts_as_use(tmp_path):
    cache = open_cache(tmp_path)
    keys = cache.fill(tiles(4))
    for age, path in enumerate(cache.folder.glob(f"??/{key}.safetensors") for key in keys):
        os.utime(next(path), (1000 + age, 1000 + age))
    cache.load(keys[0])
    room_for_three = 3 * files(tmp_path)[0].stat().st_size / 1e9
    open_cache(tmp_path, limit_gb=room_for_three).fill(tiles(1, start=9))
    left = {path.stem for path in files(tmp_path)}
    assert left == {keys[0], keys[3], cache.key(tile(9).read(), FRAME)}


def test_what_the_run_was_asked_for_stays_even_above_the_limit(tmp_path, caplog):
    open_cache(tmp_path, model_name="other").fill(tiles(2))
    cache = open_cache(tmp_path, limit_gb=1e-9)
    first = cache.fill(tiles(2))
    with caplog.at_level(logging.WARNING):
        second = cache.fill(tiles(2, start=2))
    assert {path.stem for path in files(tmp_path)} == {*first, *second}
    assert "exceed the cache's limit" in caplog.text


def test_half_written_files_of_a_killed_process_are_swept_but_not_those_in_the_making(tmp_path):
    cache = open_cache(tmp_path)
    (key,) = cache.fill(tiles(1))
    old, young = (cache.folder / key[:2] / f".{n}.part.safetensors" for n in ("old", "young"))
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 10_000,) * 2)
    (entry,) = list_cache(CacheSettings(folder=tmp_path))
    assert entry.num_embeddings == 1
    cache.trim()
    assert not old.exists()
    assert young.exists()


def test_an_embedding_that_another_run_removed_is_an_error_with_a_way_out(tmp_path):
    cache = open_cache(tmp_path)
    (key,) = cache.fill(tiles(1))
    clear_cache(CacheSettings(folder=tmp_path))
    assert cache.get(key) is None
    with pytest.raises(StorageError, match=r"gone from the cache .* raise cache\.limit_gb"):
        cache.load(key)


def test_a_full_disk_is_an_error_that_leaves_the_rest_usable(tmp_path):
    cache = open_cache(tmp_path)
    cache.fill(tiles(1))
    with no_file_above(EMBEDDING_BYTES // 2), pytest.raises(StorageError, match="cannot be writ"):
        cache.fill(tiles(2))
    assert len(files(tmp_path)) == 1
    assert len(cache.fill(tiles(2))) == 2


def test_the_list_has_a_line_a_model_also_for_names_with_a_slash(tmp_path):
    open_cache(tmp_path, model_name="facebook/sam-vit-base").fill(tiles(2))
    open_cache(tmp_path, model_name="tiny").fill(tiles(1))
    entries = list_cache(CacheSettings(folder=tmp_path))
    assert [entry.model.split("-abab")[0] for entry in entries] == ["facebook_sam-vit-base", "tiny"]
    assert [entry.num_embeddings for entry in entries] == [2, 1]
    assert entries[0].num_bytes == 2 * entries[1].num_bytes > 2 * EMBEDDING_BYTES
    assert abs(entries[1].last_used - time.time()) < 60


def test_clearing_takes_one_model_or_all_and_says_how_much(tmp_path):
    settings = CacheSettings(folder=tmp_path)
    open_cache(tmp_path, model_name="one").fill(tiles(2))
    open_cache(tmp_path, model_name="two").fill(tiles(1))
    size = list_cache(settings)[1].num_bytes
    assert clear_cache(settings, model="one") == 2 * size
    assert [entry.model[:3] for entry in list_cache(settings)] == ["two"]
    assert clear_cache(settings) == size
    assert list_cache(settings) == []
    assert clear_cache(settings) == 0


def test_clearing_leaves_alone_what_the_cache_did_not_make(tmp_path):
    (tmp_path / "papers" / "ab").mkdir(parents=True)
    (tmp_path / "papers" / "ab" / "thesis.pdf").write_bytes(b"years")
    clear_cache(CacheSettings(folder=tmp_path))
    assert (tmp_path / "papers" / "ab" / "thesis.pdf").exists()


def test_a_cache_that_was_never_filled_is_empty(tmp_path):
    assert list_cache(CacheSettings(folder=tmp_path / "nowhere")) == []
    assert clear_cache(CacheSettings(folder=tmp_path / "nowhere")) == 0


def test_the_folder_is_the_setting_then_the_environment_then_the_users_own(tmp_path, monkeypatch):
    monkeypatch.setenv("MITOSAM_CACHE", str(tmp_path / "named"))
    assert cache_folder(CacheSettings(folder=tmp_path)) == tmp_path
    assert cache_folder(CacheSettings()) == tmp_path / "named"
    monkeypatch.delenv("MITOSAM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert cache_folder(CacheSettings()).name == "embeddings"


def flipped(content, place):
    return content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :]


def test_a_flipped_bit_of_an_embedding_is_found_and_it_is_encoded_again(tmp_path, caplog):
    (key,) = open_cache(tmp_path).fill(tiles(1, start=5))
    (path,) = files(tmp_path)
    content = path.read_bytes()
    path.write_bytes(flipped(content, len(content) - 77))
    encoder = Encoder()
    cache = open_cache(tmp_path, encoder)
    with caplog.at_level(logging.WARNING):
        assert cache.get(key) is None
    assert "its checksum does not fit" in caplog.text
    cache.fill(tiles(1, start=5))
    assert encoder.num_calls == 1
    assert path.read_bytes() == content


def test_files_of_earlier_versions_have_no_checksum_and_are_not_lost(tmp_path):
    (key,) = open_cache(tmp_path).fill(tiles(1))
    (path,) = files(tmp_path)
    path.write_bytes(save({"embedding": np.full(SHAPE, 0.25, np.float16)}))
    encoder = Encoder()
    cache = open_cache(tmp_path, encoder)
    assert cache.fill(tiles(1)) == [key]
    assert encoder.num_calls == 0
    assert np.array_equal(cache.load(key), np.full(SHAPE, 0.25, np.float16))
