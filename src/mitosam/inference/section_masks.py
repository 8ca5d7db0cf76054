"""Prompts on sections of any size: each is decoded on the tile that holds it best.

Every way to masks ends here (the predictor, `mitosam predict`, an interactive session), so that the
same prompt has the same mask in all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, UInt8

from mitosam.errors import InputError, SettingsError
from mitosam.geometry import Window
from mitosam.inference.decode import Answers, Prediction, decode_prompts
from mitosam.inference.tiles import (
    Encode,
    EncodedTile,
    by_window,
    check_image,
    choose_windows,
    encode_tile,
    prompt_extents,
)
from mitosam.models.promptable import Outputs, Promptable
from mitosam.prompts import Prompts


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedPrediction:
    """One prompt's candidate masks on its tile, and where the tile lies in the section."""

    window: Window
    prediction: Prediction

    def in_section(self, shape_yx: tuple[int, int]) -> Bool[np.ndarray, "M height width"]:
        """The masks in the frame of a section of this shape, false outside the tile."""
        masks = self.prediction.masks
        whole = np.zeros((len(masks), *shape_yx), bool)
        y, x = self.window.y, self.window.x
        whole[:, y : y + masks.shape[1], x : x + masks.shape[2]] = masks
        return whole


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionMasks:
    """Masks for prompts on one section of shape `shape_yx`.

    `tile` gives the embedding of a window; it is asked only for those that prompts lie on, once for
    all prompts of one call.
    """

    model: Promptable
    shape_yx: tuple[int, int]
    tile_px: int
    tile: Callable[[Window], EncodedTile]
    earlier: Answers | None = None
    """Where answers are kept for the next correction, if this section is asked again."""

    def __post_init__(self) -> None:
        if self.tile_px < 1:
            raise SettingsError(f"tile_px must be at least 1, got {self.tile_px}")

    def predict(self, prompts: Prompts, outputs: Outputs) -> list[PlacedPrediction]:
        """Each prompt's masks, in the prompts' order.

        A prompt is decoded on the tile in which it lies most centrally. One larger than a tile is
        decoded on the whole section, scaled so that its longest side fits.

        Raises
        ------
        InputError
            A prompt lies outside the section.
        """
        prompts.check_inside(self.shape_yx)
        found: dict[int, PlacedPrediction] = {}
        windows = choose_windows(prompts, self.shape_yx, self.tile_px)
        for window, indices in by_window(windows).items():
            prediction = self._decode(prompts.chosen(indices), window, outputs)
            for place, index in enumerate(indices):
                one = prediction.of_prompt(place)
                found[index] = PlacedPrediction(window=window, prediction=one)
        return [found[index] for index in range(len(prompts))]

    def window_of(self, prompt: Prompts) -> Window:
        """The tile on which the first prompt is decoded."""
        return choose_windows(prompt, self.shape_yx, self.tile_px)[0]

    def refine(
        self,
        prompt: Prompts,
        mask_input: Float[np.ndarray, "1 m m"],
        window: Window,
        outputs: Outputs,
    ) -> PlacedPrediction:
        """The masks of one prompt beside low-res logits, on the window that those belong to.

        Raises
        ------
        InputError
            The prompt lies outside the section, or reaches out of the window.
        """
        prompt.check_inside(self.shape_yx)
        if not all(window.contains(extent) for extent in prompt_extents(prompt)):
            raise InputError(
                f"mask_input belongs to the tile x={window.x}, y={window.y} of {window.width} px, "
                "as the prediction before did, and the prompt reaches out of it; "
                "predict without mask_input"
            )
        prediction = self._decode(prompt, window, outputs, mask_input)
        return PlacedPrediction(window=window, prediction=prediction.of_prompt(0))

    def _decode(
        self,
        prompts: Prompts,
        window: Window,
        outputs: Outputs,
        mask_input: Float[np.ndarray, "1 m m"] | None = None,
    ) -> Prediction:
        tile = self.tile(window)
        return decode_prompts(
            self.model,
            tile.embedding,
            prompts,
            tile.frame,
            tile.shape_yx,
            outputs=outputs,
            mask_input=mask_input,
            earlier=self.earlier,
        )


def predict_section(
    model: Promptable,
    section: UInt8[np.ndarray, "height width *rgb"],
    prompts: Prompts,
    *,
    tile_px: int,
    encode: Encode | None = None,
    multimask_output: bool = True,
) -> list[PlacedPrediction]:
    """Each prompt's masks, in the prompts' order, as `SectionMasks.predict` gives them.

    `encode` may take embeddings from a cache; each tile is asked for once.

    Raises
    ------
    InputError
        The section is no 8-bit image, or a prompt lies outside it.
    """
    grey = check_image(section)
    masks = SectionMasks(
        model=model,
        shape_yx=(grey.shape[0], grey.shape[1]),
        tile_px=tile_px,
        tile=lambda window: encode_tile(model, grey, window, encode),
    )
    return masks.predict(prompts, "multi" if multimask_output else "single")
