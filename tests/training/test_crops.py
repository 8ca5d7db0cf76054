import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mitosam.geometry import Window
from mitosam.models.head import HeadShape
from mitosam.training.crops import (
    CropSampler,
    Placement,
    SectionExample,
    boundary_of,
    change_grey,
)
from mitosam.training.head_settings import HeadSettings

SHAPE = HeadShape(
    section_offsets=(-1, 0, 2), embedding_channels=3, width=4, grey_mean=100.0, grey_std=20.0
)
PLAIN = HeadSettings(crop_px=32, augment=False, blank_embeddings=0, embedding_dropout=0)


def make_example(shape_yx=(64, 80), seed=0):
    """Sections whose grey values tell their place, and an embedding that tells it too."""
    height, width = shape_yx
    rows, columns = np.indices(shape_yx)
    rng = np.random.default_rng(seed)
    labels = np.zeros(shape_yx, np.uint32)
    labels[10:30, 12:40] = 4_000_000_000  # as large as ids may be
    labels[40:60, 30:70] = 7
    cells = np.indices((-(-height // 8), -(-width // 8))).astype(np.float32)
    noise = rng.random((1, *cells.shape[1:]), np.float32)
    embedding = np.concatenate([8 * cells + 3.5, noise])

    def read_stack(offsets):
        return [((rows + columns + 50 * (offset + 1)) % 256).astype(np.uint8) for offset in offsets]

    def read_embedding(window: Window):
        part = embedding[:, window.y : window.y + window.height, window.x : window.x + window.width]
        assert part.shape[1:] == (window.height, window.width)
        return np.ascontiguousarray(part)

    return SectionExample(
        shape_yx=shape_yx,
        read_stack=read_stack,
        read_labels=lambda: labels,
        read_embedding=read_embedding,
    )


def grey_ramp(shape_yx):
    rows, columns = np.indices(shape_yx).astype(np.float32)
    return np.stack([rows, columns])


def test_a_crop_that_is_not_turned_is_a_cut():
    place = Placement(centre_yx=(26, 40), side_px=32)
    cut = place.sample(grey_ramp((64, 80)), (0, 0), 1)
    torch.testing.assert_close(cut, torch.from_numpy(grey_ramp((64, 80))[:, 10:42, 24:56]))


@given(
    quarter=st.integers(0, 3),
    mirrored=st.booleans(),
    origin=st.tuples(st.integers(0, 8), st.integers(0, 8)),
)
def test_quarter_turns_and_mirrors_only_move_pixels(quarter, mirrored, origin):
    layers = np.random.default_rng(0).random((2, 48, 56), np.float32)
    place = Placement(
        centre_yx=(24 + origin[0], 26 + origin[1]),
        side_px=32,
        radians=quarter * math.pi / 2,
        mirrored=mirrored,
    )
    cut = place.sample(layers, origin, 1, nearest=True).numpy()
    plain = layers[:, 8:40, 10:42]
    turned = [np.rot90(plain, k, axes=(1, 2)) for k in range(4)]
    turned += [one[:, :, ::-1] for one in turned]
    assert sum(np.array_equal(cut, one) for one in turned) == 1
    assert np.array_equal(np.sort(cut, axis=None), np.sort(plain, axis=None))


@given(
    centre=st.tuples(st.floats(0, 64), st.floats(0, 80)),
    zoom=st.floats(0.5, 2),
    radians=st.floats(0, 2 * math.pi),
    mirrored=st.booleans(),
    stride=st.sampled_from((1, 8)),
)
def test_a_window_holds_all_that_the_crop_touches(centre, zoom, radians, mirrored, stride):
    place = Placement(centre_yx=centre, side_px=32, zoom=zoom, radians=radians, mirrored=mirrored)
    corners = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]]) @ place.matrix_xy.T
    ys, xs = corners[:, 1] + centre[0], corners[:, 0] + centre[1]
    window = place.window(stride)
    assert window.y * stride <= ys.min()
    assert ys.max() <= (window.y + window.height) * stride
    assert window.x * stride <= xs.min()
    assert xs.max() <= (window.x + window.width) * stride


def test_pixels_embedding_and_truth_of_a_crop_lie_at_one_place():
    settings = HeadSettings(crop_px=32, blank_embeddings=0, max_zoom=1.2)
    example = make_example()
    sampler = CropSampler(settings, SHAPE)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        place = sampler._place(example, rng)
        crop = sampler._cut(example, place, (0,))
        rows, columns = (
            place.sample(grey_ramp(example.shape_yx)[i : i + 1], (0, 0), 1)[0] for i in (0, 1)
        )
        coarse = [torch.nn.functional.avg_pool2d(one[None], 8)[0] for one in (rows, columns)]
        inner = (coarse[0] > 8) & (coarse[0] < 52) & (coarse[1] > 8) & (coarse[1] < 68)
        for cells, where in zip(crop.embedding[:2], coarse, strict=True):
            assert (cells - where)[inner].abs().max() < 1.0
        labels = example.read_labels()
        y, x = rows.round().long().clamp(0, 63), columns.round().long().clamp(0, 79)
        expected = labels[y.numpy(), x.numpy()] > 0
        assert ((crop.targets[0].numpy() > 0) == expected).mean() > 0.95


def test_a_batch_has_the_shapes_that_the_network_takes():
    example = make_example()
    drawn = [(example, np.random.default_rng(seed)) for seed in range(3)]
    batch = CropSampler(HeadSettings(crop_px=32), SHAPE).draw(drawn)
    assert batch.stack.shape == (3, 3, 32, 32)
    assert batch.embedding.shape == (3, 3, 4, 4)
    assert batch.targets.shape == (3, 2, 32, 32)
    assert set(batch.targets.unique().tolist()) <= {0.0, 1.0}
    assert (batch.targets[:, 1] <= batch.targets[:, 0]).all()  # a boundary is inside an instance


def test_the_same_generator_draws_the_same_crop():
    sampler = CropSampler(HeadSettings(crop_px=32), SHAPE)
    one, two = (sampler.draw([(make_example(), np.random.default_rng(5))]) for _ in range(2))
    assert torch.equal(one.stack, two.stack)
    assert torch.equal(one.targets, two.targets)


def test_some_embeddings_are_blank_as_often_as_asked():
    settings = HeadSettings(crop_px=32, augment=False, blank_embeddings=0.5)
    drawn = [(make_example(), np.random.default_rng(seed)) for seed in range(60)]
    batch = CropSampler(settings, SHAPE).draw(drawn)
    blank = (batch.embedding == 0).all(dim=(1, 2, 3)).float().mean()
    assert 0.3 < blank < 0.7


def test_channels_are_dropped_as_often_as_asked_and_the_others_made_up_for():
    settings = PLAIN.model_copy(update={"embedding_dropout": 0.25})
    drawn = [(make_example(), np.random.default_rng(seed)) for seed in range(60)]
    dropped = CropSampler(settings, SHAPE).draw(drawn).embedding
    whole = CropSampler(PLAIN, SHAPE).draw(drawn_again()).embedding
    gone = (dropped == 0).all(dim=(2, 3))
    assert 0.1 < gone.float().mean() < 0.4
    torch.testing.assert_close(dropped[~gone], whole[~gone] / 0.75)


def drawn_again():
    return [(make_example(), np.random.default_rng(seed)) for seed in range(60)]


def test_a_head_of_pixels_alone_reads_no_embedding():
    def refuse(window):
        raise AssertionError(window)

    example = make_example()
    blind = SectionExample(
        shape_yx=example.shape_yx,
        read_stack=example.read_stack,
        read_labels=example.read_labels,
        read_embedding=refuse,
    )
    batch = CropSampler(PLAIN, SHAPE.of_pixels_alone()).draw([(blind, np.random.default_rng(0))])
    assert batch.embedding is None
    assert batch.stack.shape == (1, 1, 32, 32)


def test_sections_smaller_than_a_crop_are_continued_at_their_edges():
    example = make_example((20, 24))
    sampler = CropSampler(HeadSettings(crop_px=64), SHAPE)
    batch = sampler.draw([(example, np.random.default_rng(seed)) for seed in range(4)])
    assert batch.stack.shape == (4, 3, 64, 64)
    assert torch.isfinite(batch.stack).all()


def test_validation_sees_each_pixel_once_up_to_a_remainder():
    example = make_example((64, 80))
    batches = list(CropSampler(PLAIN, SHAPE).every(example))
    assert [tuple(one.stack.shape) for one in batches] == [(1, 3, 64, 64)]
    section = example.read_stack((-1,))[0].astype(np.float32)
    torch.testing.assert_close(batches[0].stack[0, 0], torch.from_numpy(section[:, :64]))


def test_a_boundary_is_inside_its_instance_and_as_wide_as_asked():
    labels = np.zeros((20, 20), int)
    labels[4:16, 4:16] = 3
    rim = boundary_of(labels, 2)
    expected = (labels > 0).copy()
    expected[6:14, 6:14] = False
    assert np.array_equal(rim, expected)


def test_touching_instances_have_a_boundary_between_them_and_the_edge_is_none():
    labels = np.ones((9, 12), int)
    labels[:, 6:] = 2
    rim = boundary_of(labels, 1)
    assert rim[:, 5:7].all()
    assert not rim[:, :5].any()
    assert not rim[:, 7:].any()


@pytest.mark.parametrize("seed", range(6))
def test_grey_values_change_and_stay_finite(seed):
    stack = np.random.default_rng(1).uniform(0, 255, (2, 16, 16)).astype(np.float32)
    changed = change_grey(stack.copy(), 128, 40, np.random.default_rng(seed))
    assert changed.shape == stack.shape
    assert changed.dtype == np.float32
    assert np.isfinite(changed).all()
