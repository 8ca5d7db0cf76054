from __future__ import annotations

import dataclasses
import re
import subprocess
import sys

import numpy as np
import pytest

from mitosam.errors import InputError
from mitosam.reporting.outlines import draw_preview
from mitosam.reporting.segmentation import (
    SegmentationContent,
    glances,
    render_segmentation,
    write_segmentation_page,
)
from mitosam.reporting.turntable import render_turntable
from tests.reporting.pages import assert_needs_nothing_else
from tests.reporting.synthetic import make_blocks, make_instances


def make_content(**changes: object) -> SegmentationContent:
    image, labels, _ = make_blocks()
    volume = np.stack([labels] * 6)
    table = render_turntable(
        volume.shape, volume.__getitem__, voxel_size_nm=(30, 5, 5), num_frames=3, width_px=120
    )
    content = SegmentationContent(
        title="mitosam: cells",
        volume_name="cells.tif",
        shape_zyx=(10, 100, 200),
        voxel_size_nm=(30.0, 5.0, 5.0),
        model="vit_t",
        method="instance head",
        instances=make_instances(),
        settings=[("foreground threshold", "0.45")],
        seconds=[("embedding", 12.5)],
        messages=["Section 3 is empty."],
        previews=[draw_preview(image, labels, table.colours, title="Section 1", pixel_nm=5)],
        turntable=table,
        provenance=[("mitosam", "0.1.0")],
    )
    return dataclasses.replace(content, **changes)


FULL = make_content()
BARE = {
    **dict.fromkeys(("settings", "seconds", "messages", "previews", "provenance"), ()),
    "turntable": None,
    "voxel_size_nm": None,
}
CONTENTS = {
    "full": FULL,
    "nothing found": dataclasses.replace(
        FULL,
        instances=(),
        turntable=render_turntable((2, 4, 4), lambda _: np.zeros((4, 4), np.uint8)),
    ),
    "bare": dataclasses.replace(FULL, instances=make_instances(measured=False), **BARE),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_every_page_needs_nothing_else(name):
    assert_needs_nothing_else(render_segmentation(CONTENTS[name]), scripts=int(name == "full"))


def test_without_script_the_first_frame_stands_and_the_others_do_not():
    images = re.findall(r'<img[^>]*"false"( hidden)?>', render_segmentation(FULL))
    assert images == ["", " hidden", " hidden"]


def test_the_page_opens_with_the_count_and_the_warnings():
    html = render_segmentation(FULL)
    assert html.index("<h1>12 mitochondria found</h1>") < html.index("Section 3 is empty.")
    assert html.index("Section 3 is empty.") < html.index("<section")


def test_big_numbers_by_hand():
    # 12 instances of 78,000 voxels in 200,000 voxels of 750 nm³; whole: 2, 3, 5, 6, 8, 9, 11, 12
    shown = {glance.title: f"{glance.number} {glance.unit}".strip() for glance in glances(FULL)}
    assert shown == {
        "Instances": "12",
        "Volume fraction": "39.0 %",
        "Density": "80.0 per µm³",
        "Median volume": "0.0500 µm³",
    }


def test_the_largest_come_first_and_at_most_ten():
    html = render_segmentation(FULL)
    rows = re.findall(r"</i>(\d+)</th>", html[html.index('id="largest"') :])
    assert [int(label) for label in rows] == list(range(12, 2, -1))


def test_without_a_voxel_size_nothing_is_in_micrometres():
    html = render_segmentation(CONTENTS["bare"])
    assert "µm³" not in html
    assert "no voxel size" in html


def test_hostile_names_are_shown_as_text():
    hostile = "<script>alert(1)</script>"
    html = render_segmentation(
        dataclasses.replace(FULL, title=hostile, model=hostile, messages=[hostile], turntable=None)
    )
    assert "<script" not in html
    assert html.count("&lt;script&gt;alert(1)") >= 4


def test_a_volume_without_extent_is_refused():
    with pytest.raises(InputError, match=r"at least 1, got \(0, 4, 4\)"):
        dataclasses.replace(FULL, shape_zyx=(0, 4, 4))


def test_the_page_is_written_whole(tmp_path):
    page = write_segmentation_page(tmp_path / "run" / "segmentation.html", FULL)
    assert page.read_text(encoding="utf-8") == render_segmentation(FULL)


def test_importing_the_page_brings_neither_matplotlib_nor_torch():
    code = (
        "import sys, mitosam.reporting.segmentation; "
        "heavy = {'matplotlib', 'torch', 'skimage', 'scipy', 'jinja2'} & set(sys.modules); "
        "sys.exit(', '.join(heavy) or 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
