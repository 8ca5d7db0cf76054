from __future__ import annotations

import shutil
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import tifffile

from mitosam.config import resolve_settings
from mitosam.data.intensity import Normalisation
from mitosam.errors import ModelError, OutputExistsError, SettingsError
from mitosam.inference.predictor import Predictor
from mitosam.models.head import Head, HeadShape
from mitosam.models.settings import ModelSettings
from mitosam.models.tuned import add_head
from mitosam.workflows import export_bioimageio as module
from mitosam.workflows.automatic_model import segmenter_of
from mitosam.workflows.export import export
from mitosam.workflows.export_bioimageio import export_bioimageio, grey_of, raw_grey
from mitosam.workflows.export_check import load_package, quiet, run_package
from mitosam.workflows.export_rdf import PackageFacts
from mitosam.workflows.tuned_model import UsableModel, load_tuned_model
from tests.models.tiny_models import HIDDEN, make_tiny_vit_sam, randomise
from tests.tiny_runs import contents

REASON = "pip install 'mitosam[export]' runs this"
pytest.importorskip("bioimageio.spec", reason=REASON)
pytest.importorskip("onnxruntime", reason=REASON)

FACTS = PackageFacts(
    name="Tiny mitochondria",
    authors=("Ada Lovelace, London", "Grace Hopper"),
    voxel_size_nm=(30.0, 8.0, 4.0),
    licence="CC-BY-4.0",
    cite=(("Ada et al. (2026): Engines", "10.1000/182"),),
)
CPU = ModelSettings(device="cpu", precision="fp32")


def opened(package, folder):
    """The description of a package, and the folder it was unpacked to."""
    with zipfile.ZipFile(package) as file:
        file.extractall(folder)
    with quiet():
        return load_package(folder), folder


@pytest.fixture(scope="module")
def tuned(finished, tmp_path_factory):
    """The tuned model's file of a run, with a head of random weights."""
    path = tmp_path_factory.mktemp("tuned") / "model.safetensors"
    shutil.copy(finished.run.tuned_weights, path)
    shape = HeadShape(
        section_offsets=(-1, 0, 1),
        embedding_channels=HIDDEN,
        width=4,
        grey_mean=120.0,
        grey_std=40.0,
    )
    head = Head(shape)
    randomise(head)
    add_head(path, head)
    return path


@pytest.fixture(scope="module")
def automatic(tuned, tmp_path_factory):
    folder = tmp_path_factory.mktemp("automatic")
    export(tuned, folder / "package.zip", to="bioimageio", facts=FACTS)
    return opened(folder / "package.zip", folder / "package")


@pytest.fixture(scope="module")
def prompted(finished, tmp_path_factory):
    folder = tmp_path_factory.mktemp("prompted")
    facts = PackageFacts(authors=("Ada",))
    export(finished.run.folder, folder / "boxes.zip", to="bioimageio", facts=facts)
    return opened(folder / "boxes.zip", folder / "package")


def test_the_package_of_a_model_with_a_head_gives_the_maps_of_segment(automatic, tuned, sources):
    stack = tifffile.imread(sources.images)[:3, 40:136, 50:146]
    segmenter = segmenter_of(load_tuned_model(tuned, CPU), tuned, resolve_settings())
    expected = segmenter.mapper("head", lambda z: stack[z], 3)(1)
    found = run_package(*automatic, {"sections": stack[None]})["maps"][0]
    assert expected.std() > 5
    np.testing.assert_allclose(found * 255, expected, atol=0.6)


def test_the_package_of_a_model_without_a_head_gives_the_masks_of_its_boxes(
    prompted, finished, sources
):
    image = tifffile.imread(sources.images)[0, 30:126, 20:116]
    boxes = np.array([[20, 20, 70, 60], [40, 50, 90, 95], [5, 5, 30, 30]], np.float32)
    usable = load_tuned_model(finished.run.folder, CPU)
    predictor = Predictor(usable.sam, tile_px=usable.tile_px)
    predictor.set_image(image)
    found = run_package(*prompted, {"image": image[None, None], "box_prompts": boxes[None]})
    for number, box in enumerate(boxes):
        expected = predictor.predict(box=box, multimask_output=False)
        same = found["masks"][0, number, 0].astype(bool) == expected.masks[0]
        assert same.mean() > 0.999
        np.testing.assert_allclose(
            found["scores"][0, number], expected.iou_predictions, rtol=1e-3, atol=1e-3
        )


def test_the_description_says_what_it_was_told(automatic):
    description, _ = automatic
    assert description.format_version.startswith("0.5.")
    assert description.name == "Tiny mitochondria"
    assert [author.name for author in description.authors] == ["Ada Lovelace", "Grace Hopper"]
    assert description.authors[0].affiliation == "London"
    assert str(description.license) == "CC-BY-4.0"
    dois = {str(cited.doi) for cited in description.cite}
    assert dois == {"10.1109/ICCV51070.2023.00371", "10.1000/182"}
    for axes in (description.inputs[0].axes, description.outputs[0].axes):
        assert [(axis.id, axis.scale, axis.unit) for axis in axes[-2:]] == [
            *(("y", 8.0, "nanometer"), ("x", 4.0, "nanometer"))
        ]
    assert description.inputs[0].axes[1].channel_names == ["z-1", "z", "z+1"]
    assert description.outputs[0].axes[1].channel_names == ["foreground", "boundary"]


def test_name_and_voxel_size_come_from_the_file_and_the_run(prompted):
    description, folder = prompted
    assert description.name == "mitosam boxes"
    axes = description.inputs[0].axes
    assert [axis.scale for axis in axes[-2:]] == [10.0, 10.0]  # the phantom's
    assert "# Validation" in (folder / "README.md").read_text()
    assert {file.name for file in folder.iterdir()} == {
        *("rdf.yaml", "README.md", "cover.png", "weights.onnx"),
        *("image.npy", "box_prompts.npy", "masks.npy", "scores.npy"),
    }


@pytest.mark.parametrize("dtype", ["uint16", "float32", ""])
def test_images_of_other_kinds_are_normalised_by_the_package(tmp_path, dtype):
    normalisation = Normalisation(kind="percentile", low=100.0, high=4000.0, dtype=dtype)
    usable = replace(usable_of(), normalisation=normalisation)
    export_bioimageio(usable, None, tmp_path / "package.zip", FACTS)
    description, folder = opened(tmp_path / "package.zip", tmp_path / "package")
    raw = np.random.default_rng(0).integers(0, 5000, (64, 64)).astype(dtype or "float32")
    box = np.array([10, 12, 50, 55], np.float32)
    found = run_package(
        description, folder, {"image": raw[None, None], "box_prompts": box[None, None]}
    )
    predictor = Predictor(usable.sam, tile_px=64, normalisation=normalisation)
    predictor.set_image(normalisation.apply(raw))
    expected = predictor.predict(box=box, multimask_output=False).masks[0]
    # Ours rounds to whole grey values, which a random network may amplify.
    assert (found["masks"][0, 0, 0].astype(bool) == expected).mean() > 0.97


def test_raw_grey_values_come_back_as_they_were():
    grey = np.linspace(0, 255, 64, dtype=np.float32).reshape(1, 1, 8, 8)
    for dtype, error in (("uint16", 0.1), ("float32", 1e-3)):
        normalisation = Normalisation(kind="percentile", low=-50.0, high=4000.0, dtype=dtype)
        if dtype == "uint16":
            normalisation = replace(normalisation, low=50.0)
        raw = raw_grey(grey, normalisation)
        assert raw.dtype == dtype
        np.testing.assert_allclose(grey_of(raw, normalisation), grey, atol=error)


def usable_of(tile_px=64):
    return UsableModel(
        sam=make_tiny_vit_sam(0, 128), tile_px=tile_px, normalisation=None, info=None
    )


def test_a_package_that_computes_something_else_is_not_left(tmp_path, monkeypatch):
    write, other = (
        module._write_network,
        module._prompted(replace(usable_of(), sam=make_tiny_vit_sam(1, 128))),
    )
    monkeypatch.setattr(module, "_write_network", lambda _, folder: write(other, folder))
    with pytest.raises(ModelError, match=r"of the package does not compute what the model does"):
        export_bioimageio(usable_of(), None, tmp_path / "package.zip", FACTS)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        (replace(FACTS, licence="my own"), "'my own'.*--licence"),
        (replace(FACTS, cite=(("Ada", "no doi"),)), "'no doi'.*--cite"),
        (replace(FACTS, authors=()), "pass --author"),
    ],
)
def test_what_the_format_does_not_take_is_refused(tmp_path, facts, message):
    with pytest.raises(SettingsError, match=message):
        export_bioimageio(usable_of(), None, tmp_path / "package.zip", facts)
    assert contents(tmp_path) == {}


def test_a_tile_that_the_head_cannot_take_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="multiple of 16 px"):
        export_bioimageio(usable_of(tile_px=100), None, tmp_path / "package.zip", FACTS)


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "package.zip").write_bytes(b"mine")
    with pytest.raises(OutputExistsError):
        export_bioimageio(usable_of(), None, tmp_path / "package.zip", FACTS)


def test_without_bioimageio_spec_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bioimageio.spec", None)
    with pytest.raises(SettingsError, match=r"needs bioimageio\.spec.*'mitosam\[export\]'"):
        export_bioimageio(usable_of(), None, tmp_path / "package.zip", FACTS)
