"""The inputs on which the embedded model is held against the ONNX files it was made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from mitosam.geometry import ModelFrame
from mitosam.models.pixels import prepare_tile
from mitosam.models.promptable import ModelPrompts

INPUT_PX = 1024
# Every 8th of the embedding's 64 rows and columns, and every 16th of its 256 channels.
EMBEDDING_STEPS = (slice(None, None, 16), slice(None, None, 8), slice(None, None, 8))


def make_tile() -> np.ndarray:
    """Dark blobs with bright rims on a textured ground, 512 x 512."""
    ys, xs = np.mgrid[:512, :512].astype(np.float64)
    tile = 150 + 15 * np.sin(xs / 7 + 2 * np.sin(ys / 31)) + 10 * np.sin(ys / 5)
    for y, x, height, width in ((140, 150, 50, 70), (330, 300, 90, 45), (120, 400, 40, 40)):
        distance = np.hypot((ys - y) / height, (xs - x) / width)
        tile[distance < 1] = 80 + 12 * np.sin(xs[distance < 1] / 3)
        tile[abs(distance - 1) < 0.08] = 35
    pixels: np.ndarray = tile.astype(np.uint8)
    return pixels


def make_input() -> torch.Tensor:
    return prepare_tile(make_tile(), ModelFrame((0, 0), 512, INPUT_PX))


@dataclass(frozen=True)
class Case:
    """One prompt in the model's frame."""

    name: str
    box: tuple[float, float, float, float] | None = None
    points: tuple[tuple[float, float, int], ...] = ()
    with_mask: bool = False

    @property
    def is_ambiguous(self) -> bool:
        """Whether segment-anything's ONNX graph picks the best of three masks.

        It does so where box corners, points and padding are fewer than three.
        """
        return len(self.for_onnx()["point_labels"][0]) < 3

    def for_model(self) -> ModelPrompts:
        points = torch.tensor([[[point[:2] for point in self.points]]]) if self.points else None
        return ModelPrompts(
            boxes=None if self.box is None else torch.tensor([[self.box]]),
            points=points,
            labels=torch.tensor([[[point[2] for point in self.points]]]) if self.points else None,
            masks=torch.from_numpy(mask_prompt()) if self.with_mask else None,
        )

    def for_onnx(self) -> dict[str, np.ndarray]:
        """segment-anything's ONNX inputs: a box is two points labelled 2 and 3, -1 is padding."""
        points = [(x, y, label) for x, y, label in self.points]
        if self.box is None:
            points.append((0, 0, -1))
        else:
            points += [(*self.box[:2], 2), (*self.box[2:], 3)]
        return {
            "point_coords": np.array([[point[:2] for point in points]], np.float32),
            "point_labels": np.array([[point[2] for point in points]], np.float32),
            "mask_input": mask_prompt()
            if self.with_mask
            else np.zeros((1, 1, 256, 256), np.float32),
            "has_mask_input": np.array([self.with_mask], np.float32),
            "orig_im_size": np.array([INPUT_PX, INPUT_PX], np.float32),
        }


def mask_prompt() -> np.ndarray:
    """Low-res logits of a disc."""
    ys, xs = np.mgrid[:256, :256]
    distance = np.hypot(ys - 70, xs - 75)
    logits: np.ndarray = np.clip((30 - distance) / 2, -10, 10).astype(np.float32)
    return logits[None, None]


CASES = (
    Case("box", box=(155, 175, 445, 385)),
    Case("loose box", box=(480, 450, 720, 860)),
    Case("box round all", box=(100, 100, 950, 860)),
    Case("point", points=((300, 280, 1),)),
    Case("points", points=((600, 660, 1), (605, 560, 1), (300, 280, 0))),
    Case("box and point", box=(155, 175, 445, 385), points=((300, 280, 1),)),
    Case("box and mask", box=(155, 175, 445, 385), with_mask=True),
    Case("point and mask", points=((300, 280, 1),), with_mask=True),
)
