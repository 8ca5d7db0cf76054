"""Prompting one image, under segment-anything's names.

predictor = load_predictor("my-run")
predictor.set_image(image)
prediction = predictor.predict(box=np.array([x0, y0, x1, y1]))
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from jaxtyping import Float, Int, Shaped
from torch import Tensor

from mitosam.data.intensity import Normalisation
from mitosam.errors import InputError, SettingsError
from mitosam.geometry import ModelFrame, Window
from mitosam.inference.decode import Prediction
from mitosam.inference.section_masks import SectionMasks
from mitosam.inference.tiles import Encode, EncodedTile, check_image, encode_tile
from mitosam.models.promptable import Outputs, Promptable
from mitosam.prompts import Prompts


class Predictor:
    """One image, and masks for any prompts on it.

    Masks are those of `mitosam predict` with the same model, `tile_px` and prompts, bit by bit.

    Parameters
    ----------
    tile_px
        The side of the square that the model's input covers, in image pixels; by default the
        image's longest side. In a larger image, each prompt is decoded on the tile in which it lies
        most centrally; tiles are encoded when a prompt first needs them, and kept for the image.
        Over a smaller one, the model sees the image at the tile's upper left corner.
    encode
        How a tile's embedding is come by, for instance from a cache; by default by the model.
    normalisation
        How images of other numbers than 8 bits become such, as the model was trained with.
    """

    def __init__(
        self,
        model: Promptable,
        *,
        tile_px: int | None = None,
        encode: Encode | None = None,
        normalisation: Normalisation | None = None,
    ) -> None:
        self.model = model
        self.tile_px = tile_px
        self._encode = encode
        self._normalisation = normalisation
        self._masks: SectionMasks | None = None
        self._last_window: Window | None = None

    def set_image(self, image: Shaped[np.ndarray, "height width *rgb"]) -> None:
        """Take an image, grey or RGB; colour is turned to grey.

        An image no larger than a tile is encoded now.

        Raises
        ------
        InputError
            It is neither an 8-bit image nor one that the normalisation is for.
        """
        grey = check_image(self._normalised(image))
        tile_px = max(grey.shape) if self.tile_px is None else self.tile_px
        self._set(
            SectionMasks(
                model=self.model,
                shape_yx=(grey.shape[0], grey.shape[1]),
                tile_px=tile_px,
                tile=cache(lambda window: encode_tile(self.model, grey, window, self._encode)),
            )
        )
        if max(grey.shape) <= tile_px:
            self._require_masks().tile(Window(0, 0, tile_px, tile_px))

    def set_embedding(
        self,
        embedding: Float[np.ndarray, "*one C h w"] | Float[Tensor, "*one C h w"],
        shape_yx: tuple[int, ...],
        frame: ModelFrame,
    ) -> None:
        """Take the embedding of an image of shape `shape_yx` that was encoded before.

        Prompts and masks are in the image's own pixels, wherever `frame` places it. The embedding
        is rounded to half precision, as the cache does.
        """
        tensor = torch.as_tensor(embedding).to(self.model.device, torch.float16)
        tensor = tensor[None] if tensor.ndim == 3 else tensor
        if tuple(tensor.shape[1:]) != self.model.embedding_shape or len(tensor) != 1:
            raise InputError(
                f"an embedding of {self.model.name} has shape {self.model.embedding_shape}, "
                f"got {tuple(tensor.shape)}"
            )
        height, width = shape_yx
        if max(height, width) > frame.tile_px:
            raise InputError(
                f"the frame must hold the image, got tile_px={frame.tile_px} for an image of "
                f"{width} x {height} px"
            )
        tile = EncodedTile(
            embedding=tensor,
            frame=ModelFrame((0, 0), frame.tile_px, frame.input_px),
            shape_yx=(height, width),
        )
        self._set(
            SectionMasks(
                model=self.model,
                shape_yx=(height, width),
                tile_px=frame.tile_px,
                tile=lambda _: tile,
            )
        )

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
        x1, y1. Points are asked in turn: each corrects the mask of those before it. `mask_input` is
        low-res logits of the prediction before, beside which all points are asked at once; in an
        image larger than a tile it belongs to that prediction's tile, and so the prompt is decoded
        on it again.

        Raises
        ------
        InputError
            A prompt is malformed or lies outside the image, or out of the tile of `mask_input`.
        SettingsError
            No image was set.
        """
        prompt = Prompts(
            boxes_xyxy=_batched("box", box, (4,)),
            points_xy=_batched("point_coords", point_coords, (-1, 2)),
            point_labels=_labels(point_labels, point_coords),
        )
        outputs: Outputs = "multi" if multimask_output else "single"
        masks, low_res = self._require_masks(), self._checked_mask(mask_input)
        if low_res is None:
            placed = masks.predict(prompt, outputs)[0]
        else:
            window = self._last_window or masks.window_of(prompt)
            placed = masks.refine(prompt, low_res, window, outputs)
        self._last_window = placed.window
        return Prediction(
            masks=placed.in_section(masks.shape_yx),
            iou_predictions=placed.prediction.iou_predictions,
            low_res_logits=placed.prediction.low_res_logits,
        )

    def predict_prompts(self, prompts: Prompts, *, multimask_output: bool = True) -> Prediction:
        """The masks of P prompts, of shape P x M x height x width, each as if asked alone.

        They take P x M bytes for each pixel of the image; `predict_section` places smaller ones.
        """
        masks = self._require_masks()
        placed = masks.predict(prompts, "multi" if multimask_output else "single")
        self._last_window = placed[-1].window
        return Prediction(
            masks=np.stack([one.in_section(masks.shape_yx) for one in placed]),
            iou_predictions=np.stack([one.prediction.iou_predictions for one in placed]),
            low_res_logits=np.stack([one.prediction.low_res_logits for one in placed]),
        )

    def _set(self, masks: SectionMasks) -> None:
        self._masks = masks
        self._last_window = None

    def _require_masks(self) -> SectionMasks:
        if self._masks is None:
            raise SettingsError("a prompt needs an image; call set_image first")
        return self._masks

    def _normalised(
        self, image: Shaped[np.ndarray, "height width *rgb"]
    ) -> Shaped[np.ndarray, "height width *rgb"]:
        """The image in 8 bits; those that it has are kept, as `mitosam predict` does."""
        wanted = self._normalisation
        if image.dtype == np.uint8 or wanted is None or wanted.kind == "identity":
            return image
        if image.ndim != 2 or image.dtype.name != (wanted.dtype or image.dtype.name):
            raise InputError(
                f"the model was trained on grey {wanted.dtype or 'images'}, got {image.dtype} of "
                f"shape {image.shape}; give such an image, or one of 8 bits"
            )
        if not np.isfinite(image).all():
            raise InputError("the image has pixels that are NaN or infinite; replace them")
        return wanted.apply(image)

    def _checked_mask(self, mask_input: np.ndarray | None) -> Float[np.ndarray, "1 m m"] | None:
        if mask_input is None:
            return None
        side = self.model.low_res_px
        mask = np.array(mask_input, np.float32)
        if mask.shape[-2:] != (side, side) or mask.size != side * side:
            raise InputError(f"mask_input must have shape (1, {side}, {side}), got {mask.shape}")
        return mask.reshape(1, side, side)


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
