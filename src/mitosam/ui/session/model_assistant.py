"""The model at work in a session: prompts, the automatic method and words on its sections."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from mitosam.config import RunSettings
from mitosam.data.intensity import adopt_normalisation, measure_normalisation
from mitosam.errors import InputError
from mitosam.inference.instances import label_maps
from mitosam.inference.section_masks import predict_section
from mitosam.io.volume import Volume
from mitosam.prompts import Prompts
from mitosam.ui.session.assistant import FoundMask, FoundObjects
from mitosam.ui.session.jobs import Work
from mitosam.ui.session.reading import ReadSection, reader
from mitosam.workflows.automatic_model import segmenter_of
from mitosam.workflows.models import open_cache
from mitosam.workflows.tuned_model import UsableModel, load_tuned_model, tuned_weights

SECTIONS_HELD = 8


class ModelAssistant:
    """A base or tuned model on one volume, whose sections `read` gives in 0 to 255."""

    def __init__(
        self,
        usable: UsableModel,
        model: Path | str,
        volume: Volume,
        *,
        read: ReadSection,
        settings: RunSettings,
    ) -> None:
        self._usable = usable
        self._name = str(model)
        self._volume = volume
        self.read = lru_cache(SECTIONS_HELD)(read)
        self._cache = open_cache(usable.sam, settings.cache)
        self._segmenter = segmenter_of(usable, model, settings)

    @classmethod
    def of_name(cls, model: Path | str, volume: Volume, settings: RunSettings) -> ModelAssistant:
        """The model of that name; grey values are brought to 8 bits as it was trained with."""
        usable = load_tuned_model(model, settings.model)
        normalisation = (
            adopt_normalisation(usable.normalisation, volume)
            if usable.normalisation
            else measure_normalisation(volume)
        )
        return cls(usable, model, volume, read=reader(volume, normalisation), settings=settings)

    @property
    def model_name(self) -> str:
        """The model as the user named it, without the folders above it."""
        return Path(self._name).name

    @property
    def origin(self) -> tuple[str, Path | None]:
        """The base model's name, and the tuned model's file if there is one."""
        weights = tuned_weights(Path(self._name))
        info = self._usable.info
        return (info.base_name if info else self._name), weights

    def look_at(self, z: int) -> None:
        """A section is shown."""

    def embedded(self) -> frozenset[int]:
        """The sections on which prompts are answered at once."""
        return frozenset()

    def candidates(self, z: int, prompts: Prompts) -> Sequence[FoundMask]:
        """The single mask that training taught, then SAM's three."""
        found = []
        for multimask in (False, True):
            (placed,) = predict_section(
                self._usable.sam,
                self.read(z),
                prompts,
                tile_px=self._usable.tile_px,
                encode=lambda pixels, frame: self._cache.load(self._cache.fill_one(pixels, frame)),
                multimask_output=multimask,
            )
            found += [
                FoundMask(window=placed.window, mask=mask, score=float(score))
                for mask, score in zip(
                    placed.prediction.masks, placed.prediction.iou_predictions, strict=True
                )
            ]
        return found

    def segment(self, sections: range, method: str, work: Work) -> FoundObjects | None:
        """All objects of some sections, by the automatic method."""
        chosen = self._segmenter.choose(method)  # type: ignore[arg-type]  # checked there
        settings = self._segmenter.info.settings_of(chosen)
        settings = settings if len(sections) > 1 else settings.for_one_section()
        compute = self._segmenter.mapper(chosen, self.read, len(self._volume))
        maps = []
        for place, z in enumerate(sections):
            if work.stopped():
                return None
            maps.append(compute(z))
            work.report(place + 1, len(sections))
        labels = label_maps(maps, settings)
        trust = {
            int(number): float(
                np.mean([m[0][part == number].mean() for m, part in zip(maps, labels, strict=True)
                         if (part == number).any()]) / 255
            )
            for number in np.unique(labels[labels > 0])
        }  # fmt: skip
        return FoundObjects(labels=dict(zip(sections, labels, strict=True)), confidence=trust)

    def ask(self, text: str, z: int) -> FoundObjects:
        """All objects of a section that a word names."""
        if text.strip().lower() not in ("mitochondria", "mitochondrion"):
            raise InputError(f"{text!r} is not understood; mitochondria is")
        found = self.segment(range(z, z + 1), "auto", Work())
        assert found is not None
        return found

    def close(self) -> None:
        """Nothing goes on in the background."""
