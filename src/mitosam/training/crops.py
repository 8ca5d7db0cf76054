"""What one step of the head's training sees: crops of a few sections, their embedding and truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int, Shaped, UInt8
from torch import Tensor
from torch.nn import functional as F

from mitosam.geometry import Window
from mitosam.models.head import STRIDE_PX, HeadShape
from mitosam.training.head_settings import HeadSettings

EMBEDDING_STRIDE_PX = 8
"""Section pixels to one cell of a section's embedding."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionExample:
    """One annotated section with what lies above and below it.

    `read_stack` gives K whole sections for K offsets, `labels` are the middle one's instance ids,
    and `read_embedding` gives its embedding in a window counted in cells of 8 x 8 pixels.
    """

    shape_yx: tuple[int, int]
    read_stack: Callable[[tuple[int, ...]], Sequence[UInt8[np.ndarray, "height width"]]]
    read_labels: Callable[[], Int[np.ndarray, "height width"]]
    read_embedding: Callable[[Window], Float32[np.ndarray, "C h w"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """B crops; the targets are foreground and boundary."""

    stack: Float[Tensor, "B K c c"]
    embedding: Float[Tensor, "B C h w"] | None
    targets: Float[Tensor, "B 2 c c"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """How a square crop lies in a section: its centre, its zoom, and how it is turned.

    A zoom of 2 shows twice as many pixels along each side.
    """

    centre_yx: tuple[float, float]
    side_px: int
    zoom: float = 1.0
    radians: float = 0.0
    mirrored: bool = False

    @property
    def matrix_xy(self) -> Float[np.ndarray, "2 2"]:
        """From the crop's XY in -1 to 1 to section pixels round the centre."""
        cos, sin = math.cos(self.radians), math.sin(self.radians)
        mirror = np.diag([-1.0 if self.mirrored else 1.0, 1.0])
        turn = np.array([[cos, -sin], [sin, cos]])
        return np.asarray(turn @ mirror * (self.zoom * self.side_px / 2))

    def window(self, stride: int) -> Window:
        """What the crop may touch of the section, in cells of `stride` pixels; it may lie past it.

        It holds the crop however it is turned, and one cell more.
        """
        reach = self.zoom * self.side_px / 2 * math.sqrt(2)
        low = [math.floor((c - reach) / stride) - 1 for c in self.centre_yx]
        high = [math.ceil((c + reach) / stride) + 1 for c in self.centre_yx]
        return Window(low[0], low[1], high[0] - low[0], high[1] - low[1])

    def sample(
        self,
        layers: Float32[np.ndarray, "n h w"],
        origin_yx: tuple[int, int],
        stride: int,
        *,
        nearest: bool = False,
    ) -> Float[Tensor, "n c c"]:
        """The crop of layers whose first cell lies at `origin_yx` of the section, in cells.

        What lies past the layers' edges is as at the edge.
        """
        height, width = layers.shape[1:]
        half_xy = np.array([width, height]) * stride / 2
        centre_xy = np.array(self.centre_yx[::-1]) - np.array(origin_yx[::-1]) * stride
        theta = np.c_[self.matrix_xy / half_xy[:, None], centre_xy / half_xy - 1]
        side = self.side_px // stride
        grid = F.affine_grid(
            torch.from_numpy(theta[None]).float(), [1, 1, side, side], align_corners=False
        )
        mode = "nearest" if nearest else "bilinear"
        cut = torch.from_numpy(layers)[None]
        return F.grid_sample(cut, grid, mode=mode, padding_mode="border", align_corners=False)[0]


class CropSampler:
    """Cuts crops from sections, and changes them as the settings say."""

    def __init__(self, settings: HeadSettings, shape: HeadShape) -> None:
        self._settings = settings
        self._shape = shape

    def draw(self, examples: Sequence[tuple[SectionExample, np.random.Generator]]) -> Batch:
        """A random crop of each section; each generator decides on its own crop alone."""
        return _batch([self._draw_one(example, rng) for example, rng in examples])

    def every(self, example: SectionExample) -> Iterator[Batch]:
        """The section as it is, in crops side by side, one a batch; a remainder is left out."""
        height, width = example.shape_yx
        longest = 2 * self._settings.crop_px
        side = max(min(longest, height // STRIDE_PX * STRIDE_PX, width // STRIDE_PX * STRIDE_PX), 1)
        side = max(side, STRIDE_PX)
        for y in range(0, max(height - side, 0) + 1, side):
            for x in range(0, max(width - side, 0) + 1, side):
                place = Placement(centre_yx=(y + side / 2, x + side / 2), side_px=side)
                yield _batch([self._cut(example, place, self._shape.section_offsets)])

    def _draw_one(self, example: SectionExample, rng: np.random.Generator) -> _Crop:
        offsets = self._shape.section_offsets
        place = self._place(example, rng)
        if self._settings.augment and rng.random() < 0.5:
            offsets = tuple(-offset for offset in offsets)
        crop = self._cut(example, place, offsets)
        stack, embedding = crop.stack, crop.embedding
        if self._settings.augment:
            grey = change_grey(stack.numpy(), self._shape.grey_mean, self._shape.grey_std, rng)
            stack = torch.from_numpy(grey)
        if embedding is not None:
            embedding = embedding * self._kept_channels(len(embedding), rng)
        return _Crop(stack, embedding, crop.targets)

    def _kept_channels(self, count: int, rng: np.random.Generator) -> Float[Tensor, "C 1 1"]:
        """What each channel of an embedding is multiplied by: 0 for those left out."""
        dropout = self._settings.embedding_dropout
        kept = (rng.random(count) >= dropout) / (1 - dropout)
        if rng.random() < self._settings.blank_embeddings:
            kept[:] = 0
        return torch.from_numpy(kept[:, None, None].astype(np.float32))

    def _place(self, example: SectionExample, rng: np.random.Generator) -> Placement:
        """Anywhere in the section, at any zoom; turned by any angle, or half the time by none."""
        side = self._settings.crop_px
        centre = tuple(
            rng.uniform(min(side, length) / 2, length - min(side, length) / 2)
            for length in example.shape_yx
        )
        if not self._settings.augment:
            return Placement(centre_yx=(centre[0], centre[1]), side_px=side)
        reach = math.log(self._settings.max_zoom)
        quarter = math.pi / 2
        turn = rng.uniform(0, 4) if rng.random() < 0.5 else float(rng.integers(4))
        return Placement(
            centre_yx=(centre[0], centre[1]),
            side_px=side,
            zoom=math.exp(rng.uniform(-reach, reach)),
            radians=turn * quarter,
            mirrored=bool(rng.random() < 0.5),
        )

    def _cut(self, example: SectionExample, place: Placement, offsets: tuple[int, ...]) -> _Crop:
        window = _inside(place.window(1), example.shape_yx)
        origin = (window.y, window.x)
        stack = [_part(section, window) for section in example.read_stack(offsets)]
        labels = _part(example.read_labels(), window)
        _, dense = np.unique(labels, return_inverse=True)  # float32 holds no large ids
        truth = dense.reshape(labels.shape) + (0 if (labels == 0).any() else 1)
        ids = place.sample(truth[None].astype(np.float32), origin, 1, nearest=True)[0].numpy()
        return _Crop(
            place.sample(np.stack(stack).astype(np.float32), origin, 1),
            self._embedding(example, place),
            self._targets(ids.astype(np.int32)),
        )

    def _embedding(
        self, example: SectionExample, place: Placement
    ) -> Float[Tensor, "C h w"] | None:
        if not self._shape.embedding_channels:
            return None
        cells = tuple(-(-length // EMBEDDING_STRIDE_PX) for length in example.shape_yx)
        window = _inside(place.window(EMBEDDING_STRIDE_PX), (cells[0], cells[1]))
        part = example.read_embedding(window)
        return place.sample(part, (window.y, window.x), EMBEDDING_STRIDE_PX)

    def _targets(self, labels: Int[np.ndarray, "c c"]) -> Float[Tensor, "2 c c"]:
        rim = boundary_of(labels, self._settings.boundary_px)
        return torch.from_numpy(np.stack([labels > 0, rim]).astype(np.float32))


@dataclass(frozen=True, slots=True)
class _Crop:
    stack: Float[Tensor, "K c c"]
    embedding: Float[Tensor, "C h w"] | None
    targets: Float[Tensor, "2 c c"]


def _batch(crops: list[_Crop]) -> Batch:
    embeddings = [crop.embedding for crop in crops if crop.embedding is not None]
    return Batch(
        stack=torch.stack([crop.stack for crop in crops]),
        embedding=torch.stack(embeddings) if embeddings else None,
        targets=torch.stack([crop.targets for crop in crops]),
    )


def _inside(window: Window, shape_yx: tuple[int, int]) -> Window:
    """The part of the window that lies in a section of this shape, at least one cell."""
    y, x = (min(max(low, 0), n - 1) for low, n in zip((window.y, window.x), shape_yx, strict=True))
    bottom = min(max(window.y + window.height, y + 1), shape_yx[0])
    right = min(max(window.x + window.width, x + 1), shape_yx[1])
    return Window(y, x, bottom - y, right - x)


def _part(section: Shaped[np.ndarray, "height width"], window: Window) -> np.ndarray:
    return np.asarray(
        section[window.y : window.y + window.height, window.x : window.x + window.width]
    )


def boundary_of(labels: Int[np.ndarray, "h w"], width_px: int) -> Bool[np.ndarray, "h w"]:
    """The rim of each instance, `width_px` wide and inside it.

    A pixel lies on it if another label is at most `width_px` rows and columns away. What lies
    past the edge is no other label.

    >>> boundary_of(np.array([[0, 1, 1, 1, 2]]), 1)
    array([[False,  True, False,  True,  True]])
    """
    from scipy.ndimage import maximum_filter, minimum_filter

    size = 2 * width_px + 1
    highest = maximum_filter(labels, size, mode="nearest")
    lowest = minimum_filter(labels, size, mode="nearest")
    return np.asarray((labels > 0) & ((highest != labels) | (lowest != labels)))


def change_grey(
    stack: Float32[np.ndarray, "K c c"], mean: float, std: float, rng: np.random.Generator
) -> Float32[np.ndarray, "K c c"]:
    """The stack with another contrast and brightness, at times blurred, at times noisy."""
    from scipy.ndimage import gaussian_filter

    if rng.random() < 0.5:
        gain, shift = rng.uniform(0.7, 1.4), rng.normal(0, 0.3) * std
        stack = (stack - mean) * np.float32(gain) + np.float32(mean + shift)
    if rng.random() < 0.2:
        stack = gaussian_filter(stack, (0, *[rng.uniform(0.5, 1.5)] * 2))
    if rng.random() < 0.3:
        noise = rng.standard_normal(stack.shape, np.float32)
        stack = stack + noise * np.float32(rng.uniform(0.05, 0.3) * std)
    return stack
