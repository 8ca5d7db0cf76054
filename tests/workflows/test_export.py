from __future__ import annotations

import numpy as np
import pytest
import tifffile
import torch

from mitosam.errors import ModelError, OutputExistsError, SettingsError, StorageError
from mitosam.inference.predictor import Predictor
from mitosam.models.export import export_huggingface
from mitosam.models.load import load_model
from mitosam.models.settings import ModelSettings
from mitosam.workflows.export import export
from mitosam.workflows.export_rdf import PackageFacts
from mitosam.workflows.prepare import prepare
from mitosam.workflows.train import train
from mitosam.workflows.tuned_model import load_tuned_model
from tests.full_disk import no_file_above
from tests.models.tiny_models import make_tiny_vit_sam
from tests.tiny_runs import contents, short_settings, write_model

BOX = np.array([20, 20, 90, 80])


def masks_of(sam, image):
    predictor = Predictor(sam)
    predictor.set_image(image)
    return predictor.predict(box=BOX)


def test_an_exported_folder_has_the_masks_of_the_tuned_model(tmp_path, finished, sources):
    image = tifffile.imread(sources.images)[0]
    tuned = load_tuned_model(finished.run.folder, ModelSettings(precision="fp32")).sam
    export(finished.run.folder, tmp_path / "folder")
    found, expected = masks_of(load_model(tmp_path / "folder"), image), masks_of(tuned, image)
    assert np.array_equal(found.masks, expected.masks)
    assert np.array_equal(found.iou_predictions, expected.iou_predictions)
    base = masks_of(load_model(finished.run.settings.model.name), image)
    assert not np.array_equal(found.low_res_logits, base.low_res_logits)


def test_an_exported_checkpoint_holds_the_weights_of_the_tuned_model(tmp_path, finished):
    export(finished.run.folder, tmp_path / "model.pth", to="original")
    weights = torch.load(tmp_path / "model.pth", weights_only=True)
    assert all(name.split(".")[0].endswith(("encoder", "decoder")) for name in weights)
    tuned = load_tuned_model(finished.run.folder).sam
    ours = tuned.mask_decoder.transformer.layers[0].layer_norm1.weight
    theirs = weights["mask_decoder.transformer.layers.0.norm1.weight"]
    assert torch.equal(ours, theirs)


def test_nothing_is_overwritten(tmp_path, finished):
    (tmp_path / "file.pth").write_bytes(b"mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_bytes(b"mine")
    before = contents(tmp_path)
    for name, to in (("file.pth", "original"), ("folder", "huggingface"), ("folder", "original")):
        with pytest.raises(OutputExistsError):
            export(finished.run.folder, tmp_path / name, to=to)
    for name, to in (("folder", "onnx"), ("file.pth", "onnx"), ("file.pth", "bioimageio")):
        with pytest.raises(OutputExistsError):
            export(finished.run.folder, tmp_path / name, to=to)
    with pytest.raises(SettingsError, match="format must be one of huggingface, original"):
        export(finished.run.folder, tmp_path / "new", to="tflite")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("to", ["huggingface", "original", "onnx", "bioimageio"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, finished, to):
    if to in ("onnx", "bioimageio"):
        pytest.importorskip("bioimageio.spec", reason="pip install 'mitosam[export]' runs this")
    facts = PackageFacts(authors=("Ada",))
    with no_file_above(20_000), pytest.raises(StorageError, match="free some space"):
        export(finished.run.folder, tmp_path / "out.zip", to=to, facts=facts)
    assert contents(tmp_path) == {}


def test_an_exported_onnx_folder_has_the_masks_of_the_tuned_model(tmp_path, finished, sources):
    onnxruntime = pytest.importorskip("onnxruntime", reason="'mitosam[export]' runs this")
    tuned = load_tuned_model(finished.run.folder, ModelSettings(precision="fp32"))
    export(finished.run.folder, tmp_path / "onnx", to="onnx")
    encoder, decoder = (
        onnxruntime.InferenceSession(tmp_path / "onnx" / f"{part}.onnx")
        for part in ("encoder", "decoder")
    )
    side, scale = tuned.sam.input_px, tuned.sam.input_px / tuned.tile_px
    tile = tifffile.imread(sources.images)[0, : tuned.tile_px, : tuned.tile_px]
    grey = torch.from_numpy(tile).float()[None, None]
    image = torch.nn.functional.interpolate(grey, (side, side), mode="bilinear")
    (embedding,) = encoder.run(None, {"image": image.expand(-1, 3, -1, -1).numpy()})
    given = {
        "image_embeddings": embedding,
        "point_coords": (BOX.reshape(1, 2, 2) * scale).astype(np.float32),
        "point_labels": np.array([[2, 3]], np.float32),
        "mask_input": np.zeros((1, 1, tuned.sam.low_res_px, tuned.sam.low_res_px), np.float32),
        "has_mask_input": np.zeros(1, np.float32),
    }
    masks, scores = decoder.run(None, given)
    predictor = Predictor(tuned.sam, tile_px=tuned.tile_px)
    predictor.set_image(tile)
    expected = predictor.predict(box=BOX)
    np.testing.assert_allclose(masks[0, 1:], expected.low_res_logits, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(scores[0, 1:], expected.iou_predictions, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("to", ["onnx", "bioimageio"])
def test_an_architecture_without_the_format_is_refused(tmp_path, finished, monkeypatch, to):
    usable = load_tuned_model(finished.run.folder)
    usable.sam.architecture = "sam2"
    monkeypatch.setattr("mitosam.workflows.export.load_tuned_model", lambda *_: usable)
    facts = PackageFacts(authors=("Ada",), voxel_size_nm=(5.0, 5.0, 5.0))
    with pytest.raises(ModelError, match=r"SAM and MobileSAM, and tiny is a sam2; .* huggingface"):
        export(finished.run.folder, tmp_path / "out.zip", to=to, facts=facts)
    assert contents(tmp_path) == {}


def test_a_tuned_model_is_refused_once_its_base_is_another(tmp_path, sources):
    base = write_model(tmp_path / "base")
    run = prepare(sources, tmp_path / "run", short_settings(base))
    train(run)
    (tmp_path / "base").rename(tmp_path / "moved")
    export_huggingface(make_tiny_vit_sam(1, 128), base)
    with pytest.raises(ModelError, match=r"was tuned from .* with hash"):
        load_tuned_model(run.folder)
