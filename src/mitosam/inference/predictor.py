"""Prompting one image, under segment-anything's names.

predictor = Predictor(load_model())
predictor.set_image(image)
prediction = predictor.predict(box=np.array([x0, y0, x1, y1]))
"""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

from mitosam.errors import InputError, SettingsError
from mitosam.geometry import ModelFrame
from mitosam.inference.decode import Prediction, decode_prompts
from mitosam.io.grey import to_grey
from mitosam.models.sam import Sam, prepare_tile
from mitosam.prompts import Prompts


class Predictor:
    """One image, encoded once, and masks for any prompts on it.

    `tile_px` is the side of the square that the model's input covers, in image pixels; by default
    the image's longest side. A larger one shows the image smaller, at its upper left corner.
    """

    def __init__(self, model: Sam, *, tile_px: int | None = None) -> None:
        self.model = model
        self.tile_px = tile_px
        self._embedding: Float[Tensor, "1 C h w"] | None = None
        self._frame = ModelFrame((0, 0), model.input_px, model.input_px)
        self._shape_yx = (0, 0)

    def set_image(self, image: UInt8[np.ndarray, "height width *rgb"]) -> None:
        """Encode `image`, grey or RGB; colour is turned to grey.

        Raises
        ------
        InputError
            It is not an 8-bit image, or is larger than `tile_px`.
        """
        grey = check_image(image)
        longest = max(grey.shape)
        tile_px = longest if self.tile_px is None else self.tile_px
        if longest > tile_px:
            raise InputError(
                f"the image must fit into tile_px={tile_px}, its longest side is {longest}; "
                "leave tile_px out, or use predict_section"
            )
        frame = ModelFrame((0, 0), tile_px, self.model.input_px)
        self.set_embedding(self.model.encode(prepare_tile(grey, frame)), grey.shape, frame)

    def set_embedding(
        self,
        embedding: Float[np.ndarray, "*one C h w"] | Float[Tensor, "*one C h w"],
        shape_yx: tuple[int, ...],
        frame: ModelFrame,
    ) -> None:
        """Take the embedding of an image of shape `shape_yx` that was encoded before.

        Prompts and masks are in the image's own pixels, wherever `frame` places it.
        """
        tensor = torch.as_tensor(embedding).float()
        tensor = tensor[None] if tensor.ndim == 3 else tensor
        if tuple(tensor.shape[1:]) != self.model.embedding_shape or len(tensor) != 1:
            raise InputError(
                f"an embedding of {self.model.name} has shape {self.model.embedding_shape}, "
                f"got {tuple(tensor.shape)}"
            )
        height, width = shape_yx
        self._embedding = tensor.to(self.model.device)
        self._shape_yx = (height, width)
        self._frame = ModelFrame((0, 0), frame.tile_px, frame.input_px)

    def predict(
        self,
        point_coords: Float[np.ndarray, "N 2"] | None = None,
        point_labels: Int[np.ndarray, " N"] | None = None,
        box: Float[np.ndarray, " 4"] | None = None,
        mask_input: Float[np.ndarray, "1 m m"] | None = None,
        *,
        multimask_output: bool = True,
    ) -> Prediction:
        """The masks of one prompt, of shape M x height x width.

        Points are (x, y) with label 1 for the object and 0 for the background; a box is x0, y0,
        x1, y1; `mask_input` is low-res logits of an earlier prediction.

        Raises
        ------
        InputError
            A prompt is malformed or lies outside the image, or no image was set.
        """
        prompts = Prompts(
            boxes_xyxy=_batched("box", box, (4,)),
            points_xy=_batched("point_coords", point_coords, (-1, 2)),
            point_labels=_labels(point_labels, point_coords),
        )
        return self._decode(prompts, multimask_output, self._checked_mask(mask_input)).of_prompt(0)

    def predict_prompts(self, prompts: Prompts, *, multimask_output: bool = True) -> Prediction:
        """The masks of P prompts, of shape P x M x height x width, each as if asked alone."""
        return self._decode(prompts, multimask_output, None)

    def _decode(
        self, prompts: Prompts, multimask_output: bool, mask_input: np.ndarray | None
    ) -> Prediction:
        if self._embedding is None:
            raise SettingsError("a prompt needs an image; call set_image first")
        prompts.check_inside(self._shape_yx)
        return decode_prompts(
            self.model,
            self._embedding,
            prompts,
            self._frame,
            self._shape_yx,
            multimask_output=multimask_output,
            mask_input=mask_input,
        )

    def _checked_mask(self, mask_input: np.ndarray | None) -> Float[np.ndarray, "1 m m"] | None:
        if mask_input is None:
            return None
        side = self.model.low_res_px
        mask = np.array(mask_input, np.float32)
        if mask.shape[-2:] != (side, side) or mask.size != side * side:
            raise InputError(f"mask_input must have shape (1, {side}, {side}), got {mask.shape}")
        return mask.reshape(1, side, side)


def check_image(
    image: Shaped[np.ndarray, "height width *rgb"],
) -> UInt8[np.ndarray, "height width"]:
    """The image in grey, provided it is one that models take."""
    if image.dtype != np.uint8:
        raise InputError(
            f"an image must be uint8, got {image.dtype}; apply the model's normalisation first"
        )
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise InputError(
            f"an image has shape (height, width) or (height, width, 3), got {image.shape}"
        )
    return to_grey(image, "the image")


def _batched(
    name: str, values: np.ndarray | None, shape: tuple[int, ...]
) -> Float[np.ndarray, "1 ..."] | None:
    if values is None:
        return None
    array = np.asarray(values, np.float64)
    fits = array.ndim == len(shape) and array.shape[-1] == shape[-1] and array.size > 0
    if not fits or not np.isfinite(array).all():
        described = "N x 2" if len(shape) == 2 else "4"
        raise InputError(f"{name} must hold {described} numbers, got {values!r}")
    return array[None]


def _labels(labels: np.ndarray | None, points: np.ndarray | None) -> Int[np.ndarray, "1 N"] | None:
    if labels is None:
        return None
    array = np.asarray(labels)
    if points is None or array.shape != (len(points),) or not np.isin(array, (0, 1)).all():
        raise InputError(f"point_labels must hold 0 or 1 for each point, got {labels!r}")
    return array.astype(np.int64)[None]
