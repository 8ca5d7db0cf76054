from __future__ import annotations

import base64

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mitosam.errors import SettingsError
from mitosam.reporting.turntable import render_turntable

TIMES = "\N{MULTIPLICATION SIGN}"


def ball(shape, centre, radius_nm, voxel_size_nm, label=1):
    grid = np.indices(shape).T - np.array(centre)
    inside = ((grid * voxel_size_nm) ** 2).sum(-1).T <= radius_nm**2
    return inside.astype(np.uint16) * label


def pixels(uri: str) -> np.ndarray:
    return iio.imread(base64.b64decode(uri.split(",")[1]))


def turn(labels, voxel_size_nm=None, **settings):
    settings = {"num_frames": 2, "width_px": 240, **settings}
    return render_turntable(
        labels.shape, labels.__getitem__, voxel_size_nm=voxel_size_nm, **settings
    )


def coloured(image: np.ndarray) -> np.ndarray:
    """Where something opaque and not grey is."""
    rgb = image[..., :3].astype(int)
    return (image[..., 3] > 250) & (rgb.max(-1) - rgb.min(-1) > 15)  # highlights are pale


@pytest.mark.parametrize("voxel_size_nm", [(8.0, 8.0, 8.0), (30.0, 8.0, 8.0), (8.0, 30.0, 30.0)])
def test_a_ball_is_as_wide_as_high_from_every_side_whatever_the_voxels(voxel_size_nm):
    shape = tuple(int(960 / side) for side in voxel_size_nm)
    labels = ball(shape, np.array(shape) / 2 - 0.5, 300, voxel_size_nm)
    table = turn(labels, voxel_size_nm, num_frames=4)
    label_nm = float(table.scale_bar.label.split()[0])
    expected = 600 * table.scale_bar.length_px / label_nm
    for frame in table.frames:
        rows, columns = np.nonzero(coloured(pixels(frame)))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert width == pytest.approx(expected, rel=0.08)
        assert height == pytest.approx(width, rel=0.1)


def test_there_are_as_many_frames_as_asked_for_and_each_is_another_view():
    labels = ball((12, 40, 60), (6, 10, 15), 8, (1, 1, 1))
    table = turn(labels, num_frames=6)
    assert len(table.frames) == len(set(table.frames)) == 6
    for frame in table.frames:
        assert frame.startswith("data:image/webp;base64,")
        assert pixels(frame).shape == (table.height, table.width, 4)


def test_dragging_right_turns_the_front_to_the_right():
    labels = np.zeros((20, 60, 60), np.uint8)
    labels[6:14, 50:58, 26:34] = 1  # in the middle of the front edge
    columns = [
        np.nonzero(coloured(pixels(frame)))[1].mean()
        for frame in turn(labels, num_frames=12).frames[:3]
    ]
    assert columns[0] < columns[1] < columns[2]


def test_the_first_section_is_on_top_and_x_runs_to_the_right():
    labels = np.zeros((60, 60, 60), np.uint8)
    labels[2:12, 25:35, 2:12] = 1
    rows, columns = np.nonzero(coloured(pixels(turn(labels).frames[0])))
    height, width = turn(labels).height, turn(labels).width
    assert rows.mean() < height / 2
    assert columns.mean() < width / 2


@settings(max_examples=5, deadline=None)
@given(st.permutations([1, 2, 3]))
def test_an_instance_keeps_its_colour_however_it_is_numbered(order):
    parts = [
        ball((12, 40, 40), centre, 5, (1, 1, 1)) for centre in ((5, 8, 8), (6, 30, 9), (6, 20, 30))
    ]
    first = sum(part * (i + 1) for i, part in enumerate(parts))
    again = sum(part * (10 * order[i]) for i, part in enumerate(parts))
    colours, others = turn(first), turn(again)
    assert colours.frames == others.frames
    assert [colours.colours[i + 1] for i in range(3)] == [
        others.colours[10 * order[i]] for i in range(3)
    ]
    assert len(set(colours.colours.values())) == 3


def test_an_empty_volume_says_so_and_has_no_frames():
    table = turn(np.zeros((4, 8, 8), np.uint16))
    assert table.frames == ()
    assert "holds no instance" in table.message


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 30, 40), (30, 1, 40), (2, 3, 300)])
def test_thin_and_tiny_volumes_can_be_drawn(shape):
    assert len(turn(np.ones(shape, np.int64) * 2**40).frames) == 2


def test_sections_that_are_not_drawn_are_not_read():
    read = []

    def section(z):
        read.append(z)
        return np.full((300, 300), 1 + (z > 150), np.uint8)

    render_turntable((300, 300, 300), section, num_frames=1, width_px=120)
    assert len(read) <= 160
    assert read == sorted(set(read))


def test_lengths_are_in_voxels_where_their_size_is_unknown():
    labels = ball((12, 40, 60), (6, 20, 30), 5, (1, 1, 1))
    assert turn(labels).scale_bar.label.endswith("voxels")
    assert turn(labels).size.replace(TIMES, "x") == "60 x 40 x 12 voxels (x x y x z)"
    assert turn(labels, (30.0, 8.0, 8.0)).size.startswith("0.48 \N{MULTIPLICATION SIGN} 0.32")


def test_no_frames_are_refused():
    with pytest.raises(SettingsError, match="num_frames=0"):
        turn(np.ones((2, 4, 4), np.uint8), num_frames=0)
