from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mitosam.errors import ModelError, OutputExistsError, SettingsError
from mitosam.inference.predictor import Predictor
from mitosam.models import export_onnx as module
from mitosam.models.export_graphs import gather_weights, resampling_matrix
from mitosam.models.export_onnx import export_onnx
from mitosam.models.load import load_model
from mitosam.models.pixels import PIXEL_MEAN, PIXEL_STD
from mitosam.models.promptable import ModelPrompts
from mitosam.models.sam import Sam
from tests.models.tiny_models import make_tiny_vit_sam, make_transformers_sam

onnx = pytest.importorskip("onnx", reason="pip install 'mitosam[export]' runs this")
onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'mitosam[export]' runs this")

SIDE = 128


def vit_sam(folder: Path) -> Sam:
    make_transformers_sam().save_pretrained(folder)
    return load_model(folder)


def session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


@pytest.fixture(scope="module", params=["vit_t", "sam"])
def exported(request, tmp_path_factory):
    """A model, and the folder of its graphs."""
    folder = tmp_path_factory.mktemp(request.param)
    model = make_tiny_vit_sam(0, SIDE) if request.param == "vit_t" else vit_sam(folder / "source")
    export_onnx(model, folder / "onnx")
    return model, folder / "onnx"


def grey_image(seed: int = 4) -> torch.Tensor:
    values = torch.randint(
        0, 256, (1, 1, SIDE, SIDE), generator=torch.Generator().manual_seed(seed)
    )
    return values.float().expand(-1, 3, -1, -1).contiguous()


def embedding_of(model: Sam) -> torch.Tensor:
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (PIXEL_MEAN, PIXEL_STD))
    return model.encode((grey_image() - mean) / std)


def decode(folder: Path, embedding, coords, labels, mask=None) -> tuple[np.ndarray, np.ndarray]:
    """The decoder's two outputs, with inputs written out as another program would."""
    given = {
        "image_embeddings": embedding.numpy(),
        "point_coords": np.array(coords, np.float32),
        "point_labels": np.array(labels, np.float32),
        "mask_input": np.zeros((1, 1, 32, 32), np.float32) if mask is None else mask.numpy(),
        "has_mask_input": np.array([mask is not None], np.float32),
    }
    masks, scores = session(folder / "decoder.onnx").run(None, given)
    return masks, scores


def assert_masks(found, model: Sam, prompts: ModelPrompts) -> None:
    with torch.no_grad():
        expected = model.decode_outputs(embedding_of(model), prompts, "all")
    masks, scores = found
    np.testing.assert_allclose(masks, expected.low_res_logits[0], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(scores, expected.iou_predictions[0], rtol=1e-3, atol=1e-3)
    assert ((masks > 0) == (expected.low_res_logits[0].numpy() > 0)).mean() > 0.9999


def test_the_encoder_gives_the_embedding_of_grey_values(exported):
    model, folder = exported
    (found,) = session(folder / "encoder.onnx").run(None, {"image": grey_image().numpy()})
    np.testing.assert_allclose(found, embedding_of(model), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("number", [1, 3])
def test_points_give_the_masks_of_torch(exported, number):
    model, folder = exported
    points = [[20.0, 30.0], [100.5, 7.0], [64.0, 90.0]][:number]
    labels = [1, 0, 1][:number]
    found = decode(folder, embedding_of(model), [[*points, [0, 0]]], [[*labels, -1]])
    prompts = ModelPrompts(points=torch.tensor([[points]]), labels=torch.tensor([[labels]]))
    assert_masks(found, model, prompts)


def test_a_box_gives_the_masks_of_torch(exported):
    model, folder = exported
    found = decode(folder, embedding_of(model), [[[10, 20], [90, 70]]], [[2, 3]])
    assert_masks(found, model, ModelPrompts(boxes=torch.tensor([[[10.0, 20.0, 90.0, 70.0]]])))


def test_a_box_with_points_gives_the_masks_of_torch(exported):
    model, folder = exported
    found = decode(
        folder, embedding_of(model), [[[10, 20], [90, 70], [40, 41], [80, 66]]], [[2, 3, 1, 0]]
    )
    prompts = ModelPrompts(
        boxes=torch.tensor([[[10.0, 20.0, 90.0, 70.0]]]),
        points=torch.tensor([[[[40.0, 41.0], [80.0, 66.0]]]]),
        labels=torch.tensor([[[1, 0]]]),
    )
    assert_masks(found, model, prompts)


def test_an_earlier_mask_gives_the_masks_of_torch_and_counts_only_when_told(exported):
    model, folder = exported
    mask = 5 * torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(2))
    embedding, coords, labels = embedding_of(model), [[[10, 20], [90, 70]]], [[2, 3]]
    boxes = torch.tensor([[[10.0, 20.0, 90.0, 70.0]]])
    found = decode(folder, embedding, coords, labels, mask)
    assert_masks(found, model, ModelPrompts(boxes=boxes, masks=mask))
    without, _ = decode(folder, embedding, coords, labels)
    assert not np.allclose(found[0], without)


def test_several_prompts_at_once_are_each_decoded_as_if_alone(exported):
    model, folder = exported
    boxes = [[10, 20, 90, 70], [60, 60, 120, 100], [0, 0, 128, 128]]
    coords = np.array(boxes).reshape(3, 2, 2)
    together = decode(folder, embedding_of(model), coords, [[2, 3]] * 3)
    assert_masks(together, model, ModelPrompts(boxes=torch.tensor([boxes]).float()))
    for i in range(3):
        alone, _ = decode(folder, embedding_of(model), coords[i : i + 1], [[2, 3]])
        np.testing.assert_allclose(together[0][i], alone[0], rtol=1e-3, atol=1e-3)


def test_each_prompt_may_bring_a_mask_of_its_own(exported):
    model, folder = exported
    masks = 5 * torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(3))
    coords, labels = [[[10, 20], [90, 70]]] * 2, [[2, 3]] * 2
    found, _ = decode(folder, embedding_of(model), coords, labels, masks)
    for i in range(2):
        alone, _ = decode(folder, embedding_of(model), coords[:1], labels[:1], masks[i : i + 1])
        np.testing.assert_allclose(found[i], alone[0], rtol=1e-3, atol=1e-3)


def test_the_code_of_the_readme_gives_the_mask(exported, tmp_path, monkeypatch):
    model, _ = exported
    export_onnx(model, tmp_path / "onnx", tile_px=120)
    tile = (grey_image(9)[0, 0, :100, :80].numpy()).astype(np.uint8)
    Image.fromarray(tile).save(tmp_path / "onnx" / "tile.png")
    (code,) = re.findall(
        r"```python\n(.*?)```", (tmp_path / "onnx" / "README.md").read_text(), re.S
    )
    monkeypatch.chdir(tmp_path / "onnx")
    names: dict[str, np.ndarray] = {}
    exec(code.replace("(40, 30, 110, 90)", "(10, 20, 60, 70)"), names)
    assert names["mask"].shape == (100, 80)
    predictor = Predictor(model, tile_px=120)
    predictor.set_image(tile)
    ours = predictor.predict(box=np.array([10, 20, 60, 70]), multimask_output=False).masks[0]
    # Pillow rounds the scaled image to whole grey values.
    assert (names["mask"] == ours).mean() > 0.97


def test_slices_of_attention_that_do_not_divide_are_exported_too(tmp_path, monkeypatch):
    model = vit_sam(tmp_path / "source")
    monkeypatch.setattr("mitosam.models.vit.SLICE_NUMBERS", 3 * 64 * 10)
    export_onnx(model, tmp_path / "onnx")  # compares with torch
    assert {file.name for file in (tmp_path / "onnx").iterdir()} == {
        *("encoder.onnx", "decoder.onnx", "README.md")
    }


def test_a_graph_that_computes_something_else_is_not_left(tmp_path, monkeypatch):
    write, other = module._write_decoder, make_tiny_vit_sam(seed=1, input_px=SIDE)
    monkeypatch.setattr(module, "_write_decoder", lambda _, folder: write(other, folder))
    with pytest.raises(ModelError, match=r"decoder\.onnx does not compute what the model does"):
        export_onnx(make_tiny_vit_sam(0, SIDE), tmp_path / "onnx")
    assert not any((tmp_path / "onnx").iterdir())


def test_without_onnxruntime_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(SettingsError, match=r"needs onnxruntime.*pip install 'mitosam\[export\]'"):
        export_onnx(make_tiny_vit_sam(0, SIDE), tmp_path / "onnx")
    assert not (tmp_path / "onnx").exists()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "mine").touch()
    with pytest.raises(OutputExistsError):
        export_onnx(make_tiny_vit_sam(0, SIDE), tmp_path)


def test_weights_that_lie_beside_a_large_graph_become_one_file(exported, tmp_path):
    model, folder = exported
    (tmp_path / "parts").mkdir()
    onnx.save(
        onnx.load(folder / "encoder.onnx"),
        tmp_path / "parts" / "encoder.onnx",
        save_as_external_data=True,
        all_tensors_to_one_file=False,
        size_threshold=0,
    )
    assert len(list((tmp_path / "parts").iterdir())) > 10
    gather_weights(tmp_path / "parts" / "encoder.onnx", tmp_path / "encoder.onnx")
    names = {file.name for file in tmp_path.iterdir()}
    assert names == {"parts", "encoder.onnx", "encoder.onnx.data"}
    (found,) = session(tmp_path / "encoder.onnx").run(None, {"image": grey_image().numpy()})
    np.testing.assert_allclose(found, embedding_of(model), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("source", "target"), [(96, 128), (200, 128), (64, 64), (7, 3)])
def test_the_resampling_matrix_is_bilinear_interpolation(source, target):
    image = torch.rand(1, 1, source, source, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(
        image, (target, target), mode="bilinear", antialias=target < source
    )
    matrix = resampling_matrix(source, target)
    torch.testing.assert_close(matrix @ image @ matrix.T, expected)
