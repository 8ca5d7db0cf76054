from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest

from mitosam.errors import InputError
from mitosam.io.pairing import pair
from mitosam.io.volume import volume_of_array


def folder(*names: str, shape=(4, 5)):
    volume = volume_of_array("folder", np.zeros((len(names), *shape), np.uint8))
    return dataclasses.replace(volume, section_names=names, named=True)


def stack(depth, shape=(4, 5)):
    return volume_of_array("stack", np.zeros((depth, *shape), np.uint8))


@pytest.mark.parametrize(
    ("images", "masks"),
    [
        (["images.010.png", "images.011.png"], ["mitos_3D.010.png", "mitos_3D.011.png"]),
        (["img_3.tif", "img_4.tif"], ["img_3_mask.png", "img_4_mask.png"]),
        (["s9.png", "s10.png"], ["m009.png", "m010.png"]),
        (["apex.png", "base.png"], ["apex_mito.png", "base_mito.png"]),
        (["a1_z1.png", "a1_z2.png"], ["a1_z1-label.png", "a1_z2-label.png"]),
    ],
)
def test_names_pair_by_what_distinguishes_them(images, masks):
    pairing = pair(folder(*images), folder(*reversed(masks)))
    assert pairing.by == "name"
    assert pairing.sections == ((0, 1), (1, 0))
    assert pairing.describe().startswith(f"paired 2 sections by name: {images[0]} with {masks[0]}")


def test_stacks_pair_by_order_without_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        pairing = pair(stack(3), stack(3))
    assert pairing.sections == ((0, 0), (1, 1), (2, 2))
    assert pairing.by == "order"
    assert not caplog.records


def test_names_that_do_not_match_pair_by_order_with_a_warning(caplog):
    with caplog.at_level(logging.WARNING):
        pairing = pair(folder("a.png", "b.png"), folder("x.png", "y.png"))
    assert pairing.by == "order"
    assert "paired by order" in caplog.text


def test_one_image_and_one_mask_pair_whatever_their_names(caplog):
    with caplog.at_level(logging.WARNING):
        assert pair(folder("a.png"), folder("b.png")).sections == ((0, 0),)
    assert not caplog.records


def test_unpaired_names_are_named():
    with pytest.raises(InputError, match=r"i3.png, m4.png.*rename them"):
        pair(folder("i1.png", "i2.png", "i3.png"), folder("m1.png", "m2.png", "m4.png"))


def test_different_counts_are_refused():
    with pytest.raises(InputError, match="got 3 images in stack and 2 masks in stack"):
        pair(stack(3), stack(2))
    with pytest.raises(InputError, match=r"1 of 3 images and 2 masks .*: i3.png"):
        pair(folder("i1.png", "i2.png", "i3.png"), folder("m1.png", "m2.png"))


def test_different_sizes_are_refused_with_both_named():
    with pytest.raises(InputError, match=r"\(i1.png\) is 5 x 4 px and folder \(m1.png\) is 5 x 6"):
        pair(folder("i1.png"), folder("m1.png", shape=(6, 5)))
