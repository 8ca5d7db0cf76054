"""The volumes of a manifest, prepared to train, validate and report on together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import UInt8

from mitosam.config import RunSettings
from mitosam.data.intensity import Normalisation, adopt_normalisation
from mitosam.data.manifest import Manifest, VolumeEntry
from mitosam.data.prepared import PreparedVolume, prepare_volume
from mitosam.data.resampling import to_common_pixel
from mitosam.data.splits import Split, SplitSettings, split_sections
from mitosam.errors import InputError, SettingsError
from mitosam.io.open import open_volume
from mitosam.io.pairing import Pairing, pair
from mitosam.io.volume import Volume
from mitosam.progress import SILENT, Progress
from mitosam.storage import sha256_of_file
from mitosam.workflows.part_splits import only_test, train_and_validate
from mitosam.workflows.runs import Run
from mitosam.workflows.tile_size import Parts

MIN_SECTIONS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedEntry:
    """One volume of a manifest, at the pixel size it is used at, and what its sections are for."""

    entry: VolumeEntry
    images: Volume
    masks: Volume
    pairing: Pairing
    split: Split


def open_dataset(manifest: Manifest, settings: RunSettings) -> list[OpenedEntry]:
    """All volumes of a manifest, those that are trained on first.

    Raises
    ------
    InputError, InputNotFoundError
        Files cannot be used, or are not those that the manifest's checksums are of.
    SettingsError
        The sections do not fit the volumes, or the run's own [split] names sections.
    """
    if settings.split.kind == "given":
        raise SettingsError(
            "sections of several volumes are chosen in the manifest, by split or use of each "
            '[[volume]]; leave out --train, --validation and --test (split.kind = "given")'
        )
    pixel_nm = settings.data.common_pixel_nm or manifest.common_pixel_nm
    volumes = [_open_entry(entry, pixel_nm) for entry in manifest.volume]
    splits = _splits(manifest, [len(images) for images, _, _ in volumes], settings)
    opened = [
        OpenedEntry(entry=entry, images=images, masks=masks, pairing=pairing, split=split)
        for entry, (images, masks, pairing), split in zip(
            manifest.volume, volumes, splits, strict=True
        )
    ]
    return sorted(opened, key=lambda one: not one.split.train)


def _open_entry(
    entry: VolumeEntry, common_pixel_nm: float | None
) -> tuple[Volume, Volume, Pairing]:
    for path, sha256 in (
        (entry.images, entry.images_sha256),
        (entry.masks, entry.masks_sha256),
    ):
        if sha256 and not path.is_file():
            raise InputError(f"{path} of volume {entry.name} is no file, so it has no sha256")
        if sha256 and sha256_of_file(path) != sha256:
            raise InputError(
                f"{path} of volume {entry.name} is not the file that the manifest's sha256 is of; "
                "get it again from its source"
            )
    images, masks = open_volume(entry.images), open_volume(entry.masks)
    if entry.mask_value is not None:
        masks = _only_value(masks, entry.mask_value)
    pairing = pair(images, masks)
    if entry.voxel_size_nm:
        images = replace(images, voxel_size_nm=entry.voxel_size_nm)
    if common_pixel_nm is not None:
        images, masks = to_common_pixel(images, masks, common_pixel_nm)
    return images, masks, pairing


def _only_value(masks: Volume, value: int) -> Volume:
    """Masks in which all other values are background."""

    def read(z: int) -> UInt8[np.ndarray, "height width"]:
        return np.asarray(masks.section(z) == value).astype(np.uint8)

    dtype = np.dtype(np.uint8)
    return replace(masks, dtype=dtype, read_section=read, read_box=None, chunk_zyx=None)


def _splits(manifest: Manifest, depths: Sequence[int], settings: RunSettings) -> list[Split]:
    splits = [
        _split_of(entry, depth, settings)
        for entry, depth in zip(manifest.volume, depths, strict=True)
    ]
    if any(split.validation for split in splits):
        return splits
    # Nobody chose sections that choose the best step: the last slab of whole volumes does.
    return [
        train_and_validate(depth, settings) if entry.use == "train" else split
        for entry, depth, split in zip(manifest.volume, depths, splits, strict=True)
    ]


def _split_of(entry: VolumeEntry, depth: int, settings: RunSettings) -> Split:
    if entry.use == "test":
        return only_test(depth)
    if entry.use:
        train, validation = (
            tuple(range(depth)) if entry.use == use else () for use in ("train", "validation")
        )
        return Split(train=train, validation=validation, test=(), unused=(), leaky=False)
    if entry.split:
        return _given(entry, depth)
    if depth < MIN_SECTIONS:
        raise SettingsError(
            f"volume {entry.name} has {depth} of the {MIN_SECTIONS} sections that a split needs; "
            'say use = "train", "validation" or "test" in the manifest'
        )
    return split_sections(depth, settings.split, settings.seed)


def _given(entry: VolumeEntry, depth: int) -> Split:
    assert entry.split is not None
    # `kind = "given"` asks for sections to train on, which one volume of several may lack.
    ranges = SplitSettings.model_construct(
        kind="given",
        train=entry.split.train,
        validation=entry.split.validation,
        test=entry.split.test,
    )
    try:
        return split_sections(depth, ranges, seed=0)
    except SettingsError as error:
        raise SettingsError(f"split of volume {entry.name}: {error}") from error


def prepare_dataset(
    run: Run,
    manifest: Manifest,
    *,
    trains: bool = True,
    normalisation: Normalisation | None = None,
    progress: Progress = SILENT,
) -> Parts:
    """Every volume of a manifest in a folder of its own, with its split.

    Each volume is normalised by its own grey values (8-bit ones stay), unless a `normalisation` is
    given, which those take over that it suits. Without `trains` only volumes with test sections
    are prepared.

    Raises
    ------
    InputError, InputNotFoundError, SettingsError
        As `open_dataset` does, or nothing is there to train on, or to report on.
    """
    opened = _wanted(open_dataset(manifest, run.settings), trains=trains)
    parts: Parts = {}
    for number, one in enumerate(opened, start=1):
        progress.say(f"{one.entry.name}: {one.pairing.describe()}")
        parts[f"{number:02}-{one.entry.name}"] = (
            _prepare(run, number, one, normalisation, progress),
            one.split,
        )
    _tell_of_greys(parts, progress)
    return parts


def _tell_of_greys(parts: Parts, progress: Progress) -> None:
    """Say whose grey values a model keeps for new images, where those trained on differ."""
    trained = [volume for volume, split in parts.values() if split.train]
    if len({volume.normalisation for volume in trained}) > 1:
        progress.say(
            "each volume is normalised by its own grey values; for new images the model keeps "
            f"those of {trained[0].name}"
        )


def _wanted(opened: list[OpenedEntry], *, trains: bool) -> list[OpenedEntry]:
    if trains:
        if not any(one.split.train for one in opened):
            raise SettingsError('no volume of the manifest trains; say use = "train" of one')
        return opened
    tested = [one for one in opened if one.split.test]
    if not tested:
        raise SettingsError('no volume of the manifest has test sections; say use = "test" of one')
    return [replace(one, split=_tests_alone(one.split)) for one in tested]


def _tests_alone(split: Split) -> Split:
    """The split for a model that was not trained on this volume."""
    unused = tuple(sorted({*split.train, *split.validation, *split.unused}))
    return Split(train=(), validation=(), test=split.test, unused=unused, leaky=False)


def _prepare(
    run: Run,
    number: int,
    one: OpenedEntry,
    normalisation: Normalisation | None,
    progress: Progress,
) -> PreparedVolume:
    return prepare_volume(
        one.images,
        one.masks,
        run.prepared_folder / f"{number:02}-{one.entry.name}",
        pairing=one.pairing,
        normalisation=normalisation and adopt_normalisation(normalisation, one.images),
        name=one.entry.name,
        progress=progress,
    )


def check_dataset(run: Run, manifest: Manifest) -> None:
    """Raise SettingsError unless a prepared run was made from these volumes, split as they are."""
    opened, parts = open_dataset(manifest, run.settings), run.parts()
    names = [part.volume.name for part in parts]
    if names != [one.entry.name for one in opened]:
        raise SettingsError(
            f"{run.folder} was made from the volumes {', '.join(names)}; "
            "resume with the same manifest, or choose another --out"
        )
    for one, part in zip(opened, parts, strict=True):
        found = one.images.sha256(), one.masks.sha256()
        if found != (part.volume.images_sha256, part.volume.masks_sha256):
            raise SettingsError(
                f"{run.folder} was made from other data than volume {one.entry.name} now has; "
                "resume with the same files, or choose another --out"
            )
        if one.split != part.split:
            raise SettingsError(
                f"{run.folder} was made with another split of volume {one.entry.name}; "
                "resume with the same manifest, or choose another --out"
            )


def describe_dataset(manifest: Manifest) -> dict[str, object]:
    """What a run writes down of its manifest: whose data it is, and on what terms."""
    named = {"title": manifest.title, "citation": manifest.citation, "url": manifest.url}
    licences = {entry.name: entry.licence or manifest.licence for entry in manifest.volume}
    citations = [entry.citation for entry in manifest.volume if entry.citation]
    return {
        **{name: text for name, text in named.items() if text},
        **{f"licence of {name}": text for name, text in licences.items() if text},
        **({"citations": citations} if citations else {}),
    }
