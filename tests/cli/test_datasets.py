from __future__ import annotations

import json

from tests.tiny_datasets import write_dataset


def test_the_public_sets_are_listed_with_their_licences(mitosam):
    done = mitosam("data", "list")
    assert done.code == 0
    for text in ("lucchi++", "mitoem-r", "CC-BY-NC-SA-4.0", "by hand"):
        assert text in done.out


def test_all_that_is_known_of_them_is_json_too(mitosam):
    sets = {one["name"]: one for one in json.loads(mitosam("data", "list", "--json").out)}
    assert sets["vnc"]["voxel_size_nm"] == [50, 4.6, 4.6]
    assert sets["lucchi++"]["file"][0]["sha256"].startswith("770ce9e9")
    assert sets["epfl"]["file"][0]["sha256"] is None


def test_nothing_is_fetched_until_the_licence_is_accepted(mitosam, tmp_path):
    done = mitosam("data", "fetch", "vnc", "--out", tmp_path / "vnc")
    assert done.code == 2
    assert "CC-BY-NC-SA-3.0" in done.out
    assert "pass --accept-licence if you accept it" in done.err
    assert not (tmp_path / "vnc").exists()


def test_an_unknown_set_is_one_line(mitosam, tmp_path):
    done = mitosam("data", "fetch", "lucci", "--out", tmp_path / "x")
    assert done.code == 2
    assert done.err.strip().startswith("error: lucci is not a data set that mitosam knows")


def test_a_set_whose_files_are_nowhere_says_what_to_put_where(mitosam, tmp_path):
    (tmp_path / "empty").mkdir()
    done = mitosam(
        *("data", "fetch", "vnc", "--out", tmp_path / "vnc", "--accept-licence"),
        *("--source", tmp_path / "empty"),
    )
    assert done.code == 2
    assert "groundtruth-drosophila-vnc/archive" in done.err
    assert str(tmp_path / "vnc" / "downloads") in done.err


def test_a_manifest_is_prepared_and_masks_are_not_named_twice(mitosam, tmp_path):
    manifest = write_dataset(tmp_path / "set")
    short = ("--set", "data.patch_px=64", "--set", "data.tile_px=96")
    done = mitosam("prepare", manifest, "--out", tmp_path / "run", *short)
    assert done.code == 0, done.err
    assert "fine: train on sections 1-2" in done.err
    done = mitosam("prepare", manifest, manifest, "--out", tmp_path / "other")
    assert (done.code, "leave out MASKS" in done.err) == (2, True)


def test_images_without_masks_are_one_line(mitosam, tmp_path):
    done = mitosam("plan", tmp_path / "stack.tif")
    assert (done.code, "only a manifest (.toml) names its own" in done.err) == (2, True)


def test_allow_outside_is_for_manifests(mitosam, tmp_path, finished):
    done = mitosam("plan", "a.tif", "b.tif", "--allow-outside")
    assert (done.code, "--allow-outside is for a manifest" in done.err) == (2, True)
    done = mitosam("evaluate", finished, "--allow-outside")
    assert (done.code, "--allow-outside is for a manifest" in done.err) == (2, True)
    outside = tmp_path / "set" / "dataset.toml"
    write_dataset(tmp_path / "set")
    outside.write_text(outside.read_text().replace('"fine/images.tif"', '"/etc/images.tif"'))
    done = mitosam("plan", outside)
    assert done.code == 2
    assert "line 7: images of fine is the absolute path /etc/images.tif" in done.err
