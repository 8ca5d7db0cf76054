"""A few sections of each volume of a run, prepared and cut, to measure its work on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mitosam.config import RunSettings
from mitosam.data.prepared import PreparedVolume, prepare_volume
from mitosam.data.splits import Split
from mitosam.io.pairing import Pairing
from mitosam.io.volume import Volume
from mitosam.progress import Progress
from mitosam.workflows.datasets import open_dataset
from mitosam.workflows.part_splits import only_test
from mitosam.workflows.plan_work import Sample
from mitosam.workflows.prepare import Sources, at_pixel_size, open_pair, split_of_stack
from mitosam.workflows.runs import Run
from mitosam.workflows.subjects import TileQuestions
from mitosam.workflows.tiles import SectionTile, tiles_of, tiles_with_mitochondria

MAX_SAMPLED_SECTIONS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceVolume:
    """One volume, and what its sections are for."""

    images: Volume
    masks: Volume
    pairing: Pairing
    split: Split


def open_sources(sources: Sources, settings: RunSettings, progress: Progress) -> list[SourceVolume]:
    """The volumes of a run; those of a manifest may be several, trained ones first."""
    if sources.manifest:
        return [
            SourceVolume(images=one.images, masks=one.masks, pairing=one.pairing, split=one.split)
            for one in open_dataset(sources.manifest, settings)
        ]
    (images, masks, pairing), _ = at_pixel_size(
        open_pair(sources.images, sources.masks), settings, sources.voxel_size_nm
    )
    progress.say(pairing.describe())
    split = split_of_stack(len(images), settings)
    return [SourceVolume(images=images, masks=masks, pairing=pairing, split=split)]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampledVolume:
    """The tiles of a few sections of one volume."""

    volume: PreparedVolume
    tiles: list[SectionTile]
    held: list[SectionTile]
    """Those that hold mitochondria."""

    @classmethod
    def cut(cls, volume: PreparedVolume, settings: RunSettings) -> SampledVolume:
        """All sections of a prepared volume, cut into the tiles of a run."""
        tiles = tiles_of(volume, range(len(volume.images)), settings.data)
        held = tiles_with_mitochondria(tiles, settings.data)
        return cls(volume=volume, tiles=tiles, held=held)

    def means(self, asked: Sequence[TileQuestions]) -> Sample:
        """Of a section; `asked` holds what is asked about all volumes."""
        num_sections = len(self.volume.images)
        folder = self.volume.folder
        questions = sum(len(one.questions) for one in asked if one.tile.volume.folder == folder)
        return Sample(
            tiles_with=len(self.held) / num_sections,
            tiles=len(self.tiles) / num_sections,
            questions=questions / num_sections,
        )


def prepare_few(sources: Sequence[SourceVolume], folder: Path, settings: RunSettings) -> Run:
    """A run of a few sections of each volume, all of them scored."""
    run = Run(folder=folder, settings=settings)
    volumes = [_prepare_few(one, run, number) for number, one in enumerate(sources)]
    run.write_parts({volume.folder.name: only_test(len(volume.images)) for volume in volumes})
    return run


def _prepare_few(one: SourceVolume, run: Run, number: int) -> PreparedVolume:
    """A few sections of a volume, prepared."""
    pairs = _spread(one.pairing.sections, MAX_SAMPLED_SECTIONS)
    images = _subset(one.images, [image for image, _ in pairs])
    masks = _subset(one.masks, [mask for _, mask in pairs])
    name = f"volume{number or ''}"
    pairing = _renumbered(one.pairing, images, masks)
    return prepare_volume(images, masks, run.prepared_folder / name, pairing=pairing)


def _spread(pairs: tuple[tuple[int, int], ...], limit: int) -> list[tuple[int, int]]:
    """At most `limit` of the pairs, evenly spaced."""
    picks = np.linspace(0, len(pairs) - 1, min(limit, len(pairs))).round().astype(int)
    return [pairs[i] for i in picks]


def _subset(volume: Volume, sections: list[int]) -> Volume:
    return replace(
        volume,
        shape_zyx=(len(sections), *volume.shape_zyx[1:]),
        section_names=tuple(volume.section_names[z] for z in sections),
        read_section=lambda z: volume.read_section(sections[z]),
    )


def _renumbered(pairing: Pairing, images: Volume, masks: Volume) -> Pairing:
    """The pairing of volumes that hold a few of its pairs, in their order."""
    return replace(
        pairing,
        sections=tuple((z, z) for z in range(len(images))),
        image_names=images.section_names,
        mask_names=masks.section_names,
    )
