from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mitosam.errors import InputError, InputNotFoundError
from mitosam.io.prompt_files import read_prompts, write_prompts
from mitosam.prompts import PADDING_LABEL, Prompts

HEAD = "section,object,x,y,label,x0,y0,x1,y1\n"


def written(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_rows_of_one_object_form_one_prompt(tmp_path):
    text = (
        HEAD + "2,a,,,,1,2,30,40\n2,a,5,6,1,,,,\n2,a,7,8,0,,,,\n2,b,,,,3,4,9.5,10\n0,a,1,1,,,,,\n"
    )
    found = read_prompts(written(tmp_path / "p.csv", text))
    assert list(found) == [0, 2]
    assert found[2].boxes_xyxy.tolist() == [[1, 2, 30, 40], [3, 4, 9.5, 10]]
    assert found[2].points_xy[0].tolist() == [[5, 6], [7, 8]]
    assert found[2].point_labels.tolist() == [[1, 0], [PADDING_LABEL, PADDING_LABEL]]
    assert found[0].boxes_xyxy is None
    assert found[0].point_labels.tolist() == [[1]]


def test_columns_may_be_few_and_a_byte_order_mark_may_stand_in_front(tmp_path):
    path = written(
        tmp_path / "p.csv", "\ufeffsection, x0, y0, x1, y1\n0, 1, 2, 3, 4\n\n0,5,5,6,6\n"
    )
    assert read_prompts(path)[0].boxes_xyxy.tolist() == [[1, 2, 3, 4], [5, 5, 6, 6]]


def test_json_is_read(tmp_path):
    text = '[{"section": 1, "box": [1, 2, 3, 4]}, {"section": 0, "points": [[5, 6, 1]]}]'
    found = read_prompts(written(tmp_path / "p.json", text))
    assert found[1].boxes_xyxy.tolist() == [[1, 2, 3, 4]]
    assert found[0].points_xy.tolist() == [[[5, 6]]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("0,a,x,2,1,,,,", r"row 2: column x must be a number, got 'x'"),
        ("0,a,nan,2,1,,,,", r"row 2: column x must be a number"),
        ("-1,a,1,2,1,,,,", r"row 2: column section must be a whole number"),
        ("0.5,a,1,2,1,,,,", r"row 2: column section must be a whole number"),
        ("0,a,1,2,7,,,,", r"row 2: column label must be 1 \(object\) or 0"),
        ("0,a,,,,1,2,3,", r"row 2: column y1 must be a number"),
        ("0,a,,,,5,2,3,9", r"row 2: a box needs x0 < x1"),
        ("0,a,1,2,1,1,2,3,4", r"row 2: a row is a point .* got both"),
        ("0,a,,,,,,,", r"row 2: a row is a point .* got neither"),
        ("0,a,,,,1,2,3,4\n0,a,,,,1,2,3,4", r"row 3: object a has a second box"),
        ("0,a,1,2,1,,,,,9", r"row 2: more cells than columns"),
        ("0,a,,,,1,2,3,4\n0,b,1,2,1,,,,", r"section 0 mixes prompts"),
        ("", "holds no prompts"),
    ],
)
def test_a_wrong_row_is_named(tmp_path, row, message):
    with pytest.raises(InputError, match=message):
        read_prompts(written(tmp_path / "p.csv", HEAD + row + "\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1: not JSON"),
        ("{}", "must hold a list"),
        ("[3]", "prompt 1: a prompt looks like"),
        ('[{"section": 0, "bbox": [1, 2, 3, 4]}]', "prompt 1: a prompt looks like"),
        ('[{"section": 0, "box": [1, 2, 3]}]', "prompt 1: box needs 4 numbers"),
        ('[{"section": 0}]', "prompt 1: a prompt needs a box or points"),
        ('[{"box": [1, 2, 3, 4]}]', "prompt 1: section must be a number"),
        ('[{"section": 0, "points": [1, 2, 1]}]', "prompt 1: points needs 3 numbers, got 1"),
        ('[{"section": 0, "points": 5}]', "prompt 1: points needs 3 numbers, got 5"),
        (f'[{{"section": 1{"0" * 400}}}]', "prompt 1: section must be a number"),
    ],
)
def test_a_wrong_json_prompt_is_named(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_prompts(written(tmp_path / "p.json", text))


def test_wrong_columns_suffixes_and_encodings_are_refused(tmp_path):
    with pytest.raises(InputError, match="unknown column 'z'"):
        read_prompts(written(tmp_path / "p.csv", "section,z\n"))
    with pytest.raises(InputError, match="no column 'section'"):
        read_prompts(written(tmp_path / "p.csv", "x,y\n1,2\n"))
    with pytest.raises(InputError, match=r"end in .csv or .json"):
        read_prompts(written(tmp_path / "p.txt", ""))
    with pytest.raises(InputNotFoundError):
        read_prompts(tmp_path / "none.csv")
    (tmp_path / "b.csv").write_bytes(b"section,x\n0,\xff\n")
    with pytest.raises(InputError, match="not UTF-8"):
        read_prompts(tmp_path / "b.csv")


coordinates = st.floats(0, 4000, allow_nan=False)
boxes = st.tuples(coordinates, coordinates, st.floats(1, 9), st.floats(1, 9))


@st.composite
def prompt_groups(draw):
    count = draw(st.integers(1, 4))
    num_points = draw(st.integers(0, 3))
    corners = np.array(draw(st.lists(boxes, min_size=count, max_size=count)))
    corners[:, 2:] += corners[:, :2]
    if num_points == 0:
        return Prompts(boxes_xyxy=corners)
    flat = draw(
        st.lists(coordinates, min_size=2 * count * num_points, max_size=2 * count * num_points)
    )
    labels = st.lists(
        st.sampled_from([0, 1]), min_size=count * num_points, max_size=count * num_points
    )
    return Prompts(
        boxes_xyxy=corners if draw(st.booleans()) else None,
        points_xy=np.array(flat).reshape(count, num_points, 2),
        point_labels=np.array(draw(labels)).reshape(count, num_points),
    )


@pytest.mark.parametrize("suffix", ["csv", "json"])
@given(groups=st.dictionaries(st.integers(0, 99), prompt_groups(), min_size=1, max_size=3))
def test_what_is_written_is_read_back(tmp_path_factory, suffix, groups):
    path = tmp_path_factory.mktemp("prompts") / f"p.{suffix}"
    write_prompts(path, groups)
    found = read_prompts(path)
    assert sorted(found) == sorted(groups)
    for section, expected in groups.items():
        for name in ("boxes_xyxy", "points_xy", "point_labels"):
            np.testing.assert_array_equal(getattr(found[section], name), getattr(expected, name))
