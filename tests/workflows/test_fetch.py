from __future__ import annotations

import io
import zipfile

import imageio.v3 as iio
import numpy as np
import pytest

from mitosam.config import resolve_settings
from mitosam.data import catalogue
from mitosam.data.catalogue import KnownSet
from mitosam.data.manifest import read_manifest
from mitosam.data.phantom import make_phantom
from mitosam.errors import DownloadError, InputError, OutputExistsError, SettingsError
from mitosam.io.write import write_stack_tiff
from mitosam.workflows.fetch import fetch_dataset
from mitosam.workflows.prepare import Sources, prepare
from tests.file_server import serve
from tests.tiny_runs import Remembered, contents

KNOWN = {
    "name": "tiny",
    "title": "Tiny",
    "about": "A phantom.",
    "labels": "binary",
    "licence": "CC0-1.0",
    "citation": "Nobody",
    "page": "https://example.org/tiny",
    "file": [
        {
            "url": "http://127.0.0.1:9/tiny.zip",
            "name": "tiny.zip",
            "unpack": [
                {"members": "tiny/im/*.png", "folder": "train/images"},
                {"members": "tiny/mito/*.png", "folder": "train/masks"},
            ],
        },
        {"url": "http://127.0.0.1:9/test.tif", "name": "test.tif"},
        {"url": "http://127.0.0.1:9/test_mito.tif", "name": "test_mito.tif"},
    ],
    "volume": [
        {"name": "a", "images": "train/images", "masks": "train/masks"},
        {"name": "b", "images": "test.tif", "masks": "test_mito.tif", "use": "test"},
    ],
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    phantom = make_phantom((4, 96, 128), 1)
    masks = ((phantom.labels > 0) * 255).astype(np.uint8)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, stack in (("im", phantom.images), ("mito", masks)):
            for z, section in enumerate(stack):
                png = iio.imwrite("<bytes>", section, extension=".png")
                archive.writestr(f"tiny/{name}/{name}{z:02}.png", png)
    write_stack_tiff(folder / "test.tif", phantom.images, phantom.voxel_size_nm)
    write_stack_tiff(folder / "test_mito.tif", masks, phantom.voxel_size_nm)
    return {
        "tiny.zip": packed.getvalue(),
        **{path.name: path.read_bytes() for path in folder.iterdir()},
    }


@pytest.fixture
def known(monkeypatch):
    """The catalogue holds one tiny set."""

    def use(**changes: object) -> None:
        found = KnownSet.model_validate(KNOWN | changes)
        monkeypatch.setattr(catalogue, "read_catalogue", lambda: (found,))

    use()
    return use


def test_a_set_is_fetched_unpacked_and_ready_to_train_with(files, known, tmp_path):
    with serve(files) as served:
        fetched = fetch_dataset("tiny", tmp_path / "t", accept_licence=True, source=served.url)
    manifest = read_manifest(fetched.manifest)
    assert (manifest.licence, manifest.url) == ("CC0-1.0", "https://example.org/tiny")
    settings = resolve_settings(overrides=["data.patch_px=64", "data.tile_px=96"])
    run = prepare(Sources.of_manifest(fetched.manifest), tmp_path / "run", settings)
    assert [part.volume.shape_zyx for part in run.parts()] == [(4, 96, 128)] * 2


def test_nothing_is_fetched_before_the_licence_is_accepted(files, known, tmp_path):
    with serve(files) as served:
        with pytest.raises(SettingsError, match=r"CC0-1\.0 .*pass --accept-licence"):
            fetch_dataset("tiny", tmp_path / "t", source=served.url)
        assert not served.asked
    assert not (tmp_path / "t").exists()


def test_running_it_again_fetches_nothing_and_changes_nothing(files, known, tmp_path):
    with serve(files) as served:
        fetch_dataset("tiny", tmp_path / "t", accept_licence=True, source=served.url)
        before, count = contents(tmp_path / "t"), len(served.asked)
        fetch_dataset("tiny", tmp_path / "t", accept_licence=True, source=served.url)
        assert len(served.asked) == count
    assert contents(tmp_path / "t") == before


def test_a_cut_connection_is_gone_on_with(files, known, tmp_path):
    with serve(files) as served:
        served.cut_after = 5000
        with pytest.raises(DownloadError, match=r"cut off|cannot be"):
            fetch_dataset("tiny", tmp_path / "t", accept_licence=True, source=served.url)
        assert not (tmp_path / "t" / "dataset.toml").exists()
        served.cut_after = None
        fetch_dataset("tiny", tmp_path / "t", accept_licence=True, source=served.url)
    assert (tmp_path / "t" / "dataset.toml").exists()


def test_without_a_network_it_says_what_to_put_where_and_then_goes_on(files, known, tmp_path):
    progress, out = Remembered(), tmp_path / "t"
    with pytest.raises(DownloadError, match="cannot be reached"):
        fetch_dataset("tiny", out, accept_licence=True, progress=progress)
    told = "\n".join(progress.said)
    assert "http://127.0.0.1:9/tiny.zip" in told
    assert str(out / "downloads" / "tiny.zip") in told
    assert str(out / "test.tif") in told
    (out / "downloads").mkdir(parents=True, exist_ok=True)
    (out / "downloads" / "tiny.zip").write_bytes(files["tiny.zip"])
    for name in ("test.tif", "test_mito.tif"):
        (out / name).write_bytes(files[name])
    assert fetch_dataset("tiny", out, accept_licence=True).manifest.exists()


def test_a_checksum_that_is_not_published_is_recorded_and_compared_later(files, known, tmp_path):
    progress, out = Remembered(), tmp_path / "t"
    with serve(files) as served:
        fetch_dataset("tiny", out, accept_licence=True, source=served.url, progress=progress)
    assert any("no checksum is published; its sha256 is" in line for line in progress.said)
    sums = (out / "SHA256SUMS").read_text().splitlines()
    assert [line.split("  ")[1] for line in sums] == ["tiny.zip", "test.tif", "test_mito.tif"]
    (out / "test.tif").write_bytes(b"changed")
    with pytest.raises(InputError, match=r"test\.tif has the sha256"):
        fetch_dataset("tiny", out, accept_licence=True)


def test_a_published_checksum_that_is_wrong_is_told(files, known, tmp_path):
    first = {**KNOWN["file"][0], "sha256": "0" * 64}
    known(file=[first, *KNOWN["file"][1:]])
    with serve(files) as served, pytest.raises(DownloadError, match="another sha256"):
        fetch_dataset("tiny", tmp_path / "t", accept_licence=True, source=served.url)


def test_a_folder_can_be_asked_instead(files, known, tmp_path):
    (tmp_path / "disk").mkdir()
    for name, content in files.items():
        (tmp_path / "disk" / name).write_bytes(content)
    for number, source in enumerate([str(tmp_path / "disk"), (tmp_path / "disk").as_uri()]):
        out = tmp_path / str(number)
        assert fetch_dataset("tiny", out, accept_licence=True, source=source).manifest.exists()


def test_another_manifest_is_not_overwritten(files, known, tmp_path):
    (tmp_path / "dataset.toml").write_text("title = 'mine'")
    with pytest.raises(OutputExistsError, match="says something else"):
        fetch_dataset("tiny", tmp_path, accept_licence=True)


def test_a_set_that_must_be_brought_by_hand_says_how(tmp_path):
    with pytest.raises(SettingsError, match=r"not fetched by this command.*NIfTI"):
        fetch_dataset("urocell", tmp_path, accept_licence=True)
