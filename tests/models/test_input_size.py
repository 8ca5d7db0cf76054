from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import SamModel
from transformers.models.sam.modeling_sam import SamVisionEncoder

from mitosam.embeddings import CacheSettings
from mitosam.errors import ModelError, SettingsError
from mitosam.geometry import ModelFrame
from mitosam.inference.predictor import Predictor
from mitosam.models.export import export_huggingface
from mitosam.models.input_size import (
    is_trained,
    largest_window_px,
    resize_distances,
    resize_input,
)
from mitosam.models.load import load_model
from mitosam.models.sam import Sam
from mitosam.models.tuned import TunedInfo, load_tuned, save_tuned
from mitosam.models.vit import use_sliced_attention
from mitosam.workflows.models import open_cache
from tests.models.tiny_models import (
    decode_example,
    example_image,
    make_tiny_vit_sam,
    make_transformers_sam,
)

# Both models' windows do not divide the grids of some of these.
SIDES = {"sam": (128, 64, 96, 208), "vit_t": (256, 224, 320, 416)}
BOTH = pytest.mark.parametrize("architecture", SIDES)


def make_model(architecture: str, folder) -> Sam:
    if architecture == "vit_t":
        return make_tiny_vit_sam(0, SIDES["vit_t"][0])
    if not folder.exists():
        make_transformers_sam().save_pretrained(folder)
    return load_model(folder)


@pytest.fixture
def model(architecture, tmp_path):
    return make_model(architecture, tmp_path / "sam")


@BOTH
def test_at_the_trained_side_nothing_changes_to_the_bit(architecture, model, tmp_path):
    expected = decode_example(model)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for side in (None, SIDES[architecture][0]):
        assert resize_input(model, side) is model
        assert torch.equal(decode_example(model), expected)
        assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())


@BOTH
def test_everything_that_follows_from_the_side_does(architecture, model):
    weights_hash = model.weights_hash
    decode_example(model)  # so that the position of the image is there already
    for side in SIDES[architecture][1:]:
        assert resize_input(model, side).input_px == side
        assert model.embedding_shape == (32, side // 16, side // 16)
        assert model.low_res_px == side // 4
        embedding = model.encode(example_image(side))
        assert embedding.shape == (1, *model.embedding_shape)
        logits = decode_example(model)
        assert logits.shape == (1, 2, 3, side // 4, side // 4)
        assert torch.isfinite(logits).all()
    assert model.weights_hash == weights_hash
    assert not is_trained(model)
    model.mask_decoder.iou_token.weight.data += 1
    assert is_trained(model)


@pytest.mark.parametrize("side", SIDES["sam"][1:])
def test_a_vit_gives_what_transformers_gives_with_tables_it_interpolates_itself(tmp_path, side):
    ours = resize_input(make_model("sam", tmp_path / "sam"), side)
    stock = make_transformers_sam().vision_encoder
    grid = stock.pos_embed.detach().permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (side // 16, side // 16), mode="bicubic", align_corners=False)
    stock.pos_embed = torch.nn.Parameter(grid.permute(0, 2, 3, 1))
    stock.patch_embed.image_size = (side, side)
    with torch.inference_mode():
        expected = stock(example_image(side)).last_hidden_state
    torch.testing.assert_close(ours.encode(example_image(side)), expected, rtol=1e-4, atol=1e-4)


def test_sliced_attention_interpolates_tables_that_nobody_did():
    stock = make_transformers_sam().vision_encoder
    assert isinstance(stock, SamVisionEncoder)
    layer = stock.layers[1]
    tokens = torch.randn(1, 5, 5, 24, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = layer.attn(tokens)[0]
        use_sliced_attention(stock)
        torch.testing.assert_close(stock.layers[1].attn(tokens)[0], expected, rtol=1e-4, atol=1e-4)


def test_distances_by_hand():
    table = torch.tensor([[0.0], [3.0], [6.0]])  # -1, 0 and 1 in a row of two cells
    assert resize_distances(table, 2).flatten().tolist() == [0, 3, 6]
    assert resize_distances(table, 1).flatten().tolist() == [3]
    assert resize_distances(table, 3).flatten().tolist() == pytest.approx([0, 1.2, 3, 4.8, 6])


def test_a_tiny_vit_sees_a_corner_as_it_did_whatever_lies_far_from_it():
    """Its windows of 14 cells meet at 448 px; what lies past them reaches five cells at most."""
    small, large = (resize_input(make_tiny_vit_sam(0, 448), side) for side in (448, 672))
    image = example_image(672)
    first, second = small.encode(image[..., :448, :448]), large.encode(image)
    torch.testing.assert_close(first[..., :5, :5], second[..., :5, :5], rtol=1e-4, atol=1e-4)


@BOTH
def test_a_resized_model_saved_whole_comes_back_with_its_side(architecture, model, tmp_path):
    side = SIDES[architecture][2]
    expected = decode_example(resize_input(model, side))
    export_huggingface(model, tmp_path / "exported")
    again = load_model(tmp_path / "exported")
    assert again.input_px == side
    assert torch.equal(decode_example(again), expected)


def test_transformers_reads_a_resized_sam(tmp_path):
    model = resize_input(make_model("sam", tmp_path / "sam"), 96)
    export_huggingface(model, tmp_path / "exported")
    theirs = SamModel.from_pretrained(tmp_path / "exported").eval()
    with torch.inference_mode():
        embedding = theirs.get_image_embeddings(example_image(96))
    torch.testing.assert_close(embedding, model.encode(example_image(96)), rtol=1e-4, atol=1e-4)


def test_a_box_lands_on_its_object_at_every_side():
    """The embedded model, on a bright disc."""
    ys, xs = np.mgrid[:256, :256]
    disc = (ys - 90) ** 2 + (xs - 150) ** 2 < 40**2
    grey = np.where(disc, 200, 60).astype(np.uint8)
    for side in (1024, 512, 768):
        predictor = Predictor(resize_input(load_model(), side), tile_px=256)
        predictor.set_image(grey)
        box = np.array([110.0, 50.0, 190.0, 130.0])
        mask = predictor.predict(box=box, multimask_output=False).masks[0]
        assert (mask & disc).sum() / (mask | disc).sum() > 0.9


def test_cache_keys_differ(tmp_path):
    model = make_tiny_vit_sam(0, 256)
    pixels = np.zeros((256, 256), np.uint8)
    cache = CacheSettings(folder=tmp_path)
    keys = {
        open_cache(model, cache).fill_one(
            pixels, ModelFrame((0, 0), 256, resize_input(model, side).input_px)
        )
        for side in SIDES["vit_t"]
    }
    assert len(keys) == len(SIDES["vit_t"])


def test_a_tuned_model_fits_only_the_side_it_was_trained_at(tmp_path):
    base = resize_input(make_tiny_vit_sam(0, 256), 320)
    info = TunedInfo(
        base_name="tiny",
        base_hash=base.weights_hash,
        normalisation={},
        tile_px=96,
        input_px=320,
        trained_parts=("mask_decoder",),
        settings_toml="",
        scores={},
        created="",
        mitosam_version="",
    )
    save_tuned(tmp_path / "model.safetensors", base, info, ["mask_decoder.iou_token.weight"])
    assert load_tuned(tmp_path / "model.safetensors", base) == info
    with pytest.raises(ModelError, match=r"trained at model\.input_px = 320, got 256; set it"):
        load_tuned(tmp_path / "model.safetensors", make_tiny_vit_sam(0, 256))


@BOTH
def test_sides_that_do_not_fit_are_refused_in_words(architecture, model):
    with pytest.raises(SettingsError, match=r"input_px must be a multiple of 16 for .*, got 1000"):
        resize_input(model, 1000)
    window_px = largest_window_px(model)
    assert window_px == {"sam": 3 * 16, "vit_t": 14 * 16}[architecture]
    with pytest.raises(SettingsError, match=f"must be at least {window_px}, the window"):
        resize_input(model, 32)
    with pytest.raises(SettingsError, match=r"takes about \d+ GB of memory .* choose a smaller"):
        resize_input(model, 1_600_000)


def test_an_encoder_of_another_family_is_refused():
    model = make_tiny_vit_sam(0, 256)
    model.vision_encoder = torch.nn.Identity()
    with pytest.raises(ModelError, match="takes inputs of 256 px alone"):
        resize_input(model, 320)
