"""The model at work in a session: prompts, the automatic method and words on its sections."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

from mitosam.config import RunSettings
from mitosam.data.resampling import resample_labels
from mitosam.geometry import Window
from mitosam.io.volume import Volume
from mitosam.models.detections import Detections, TextDetector
from mitosam.progress import SILENT, Progress
from mitosam.prompts import Prompts
from mitosam.ui.session.assistant import FoundMask, FoundObjects, Origin
from mitosam.ui.session.automatic import segment_sections
from mitosam.ui.session.embedding import Embedder, SectionPrompter
from mitosam.ui.session.model import SessionModel
from mitosam.ui.session.reading import reader
from mitosam.ui.session.tiles import EncoderTurns, SectionTiles
from mitosam.workflows.tuned_model import (
    in_trained_pixels,
    pixel_size_remark,
    settings_of,
    tuned_weights,
)
from mitosam.workflows.voxel_sizes import VoxelSize
from mitosam.workflows.words import AllInstances, look, understand


class ModelAssistant:
    """A base or tuned model on one volume; `changed` is called when another tile is embedded.

    Two that share `turns` do not encode at the same time. `detector` is asked for words that are
    none of the model's own.
    """

    def __init__(
        self,
        model: Path | str,
        volume: Volume,
        settings: RunSettings,
        *,
        turns: EncoderTurns,
        voxel_size_nm: VoxelSize | None = None,
        detector: TextDetector | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._detector = detector
        self._model = SessionModel.load(model, settings, turns)
        self._volume = volume
        self._voxel_size_nm = voxel_size_nm
        self._normalisation = self._model.normalisation_for(volume)
        self._read = reader(volume, self._normalisation)
        tiles = SectionTiles(
            self._model.sam,
            self._model.cache,
            self._read,
            volume.shape_zyx,
            tile_px=self._model.usable.tile_px,
            turns=turns,
        )
        self._prompter = SectionPrompter(self._model.sam, tiles)
        self._embedder = Embedder(tiles, changed=changed)

    @property
    def model_name(self) -> str:
        """The model as the user named it, without the folders above it."""
        return Path(self._model.name).name

    @property
    def remark(self) -> str:
        """That the model was trained on pixels of another size, where this volume's is known."""
        size = self._voxel_size_nm
        return pixel_size_remark(self._model.usable, size) if size else ""

    @property
    def origin(self) -> Origin:
        """Where a model that is taught begins."""
        info = self._model.usable.info
        return Origin(
            base_name=info.base_name if info else self._model.name,
            weights=tuned_weights(Path(self._model.name)),
            trained=settings_of(info) if info else None,
            normalisation=self._normalisation,
        )

    def image(self, z: int) -> UInt8[np.ndarray, "height width"]:
        """A section as the model sees it."""
        return self._read(z)

    def look_at(self, z: int) -> None:
        """A section is shown: embed it first, then those around it."""
        self._embedder.focus(z)

    def embedded(self) -> frozenset[int]:
        """The sections on which prompts are answered at once."""
        return self._embedder.embedded_sections()

    def candidates(self, z: int, prompts: Prompts) -> Sequence[FoundMask]:
        """The single mask that training taught, then those of SAM's three that differ."""
        return self._prompter.candidates(z, prompts)

    def outline(self, z: int, boxes_xyxy: Float[np.ndarray, "P 4"]) -> list[FoundMask | None]:
        """The single mask of each of many boxes; None where it is empty."""
        return self._prompter.batch(z, boxes_xyxy)

    def segment(self, sections: range, method: str, progress: Progress = SILENT) -> FoundObjects:
        """All objects of some consecutive sections, by the automatic method."""
        segmenter = self._model.segmenter
        seen = in_trained_pixels(self._volume, self._model.usable, self._voxel_size_nm)
        found = segment_sections(
            segmenter,
            reader(seen, self._normalisation),
            seen.shape_zyx,
            sections,
            segmenter.choose(method),  # type: ignore[arg-type]  # checked there
            progress,
        )
        own_yx = self._volume.shape_zyx[1:]
        labels = {z: resample_labels(one, own_yx) for z, one in found.labels.items()}
        return replace(found, labels=labels)

    def ask(self, text: str, z: int) -> FoundObjects:
        """All objects of a section that a word names."""
        meaning = understand(text, segmenter=self._model.segmenter, detector=self._detector)
        if isinstance(meaning, AllInstances):
            found = self.segment(range(z, z + 1), meaning.method)
            return replace(found, sentence=meaning.sentence)
        assert self._detector is not None, "only a detector makes phrases of words"
        seen = look(meaning, self._read(z), self._detector)
        return FoundObjects(
            labels={z: self._drawn(z, seen.detections)},
            confidence=dict(enumerate(seen.detections.scores.tolist(), start=1)),
            sentence=seen.sentence,
        )

    def _drawn(self, z: int, found: Detections) -> Int[np.ndarray, "height width"]:
        """A detector's finds, the surest on top: its own masks, or the decoder's in its boxes."""
        masks: list[tuple[Window, Bool[np.ndarray, "h w"]] | None]
        if found.masks is not None:
            masks = [(mask.window, mask.pixels) for mask in found.masks]
        else:
            decoded = self.outline(z, found.boxes_xyxy)
            masks = [None if one is None else (one.window, one.mask) for one in decoded]
        labels = np.zeros(self._volume.shape_zyx[1:], np.int32)
        for number, drawn in reversed(list(enumerate(masks, start=1))):
            if drawn is not None:
                at, mask = drawn
                labels[at.y : at.y + mask.shape[0], at.x : at.x + mask.shape[1]][mask] = number
        return labels

    def close(self) -> None:
        """Stop embedding ahead."""
        self._embedder.close()
