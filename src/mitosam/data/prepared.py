"""A volume with its masks, checked and brought to one form that everything after it reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from jaxtyping import Int, UInt8
from pydantic import BaseModel, ConfigDict, ValidationError

from mitosam.checksums import checksum_of_file, damaged, sealed_object, unsealed_object
from mitosam.data.intensity import Normalisation, measure_normalisation, read_finite
from mitosam.data.masks import Coding, MaskSurvey, survey_masks
from mitosam.data.splits import split_halves
from mitosam.errors import DamagedFileError, InputError, InputNotFoundError
from mitosam.io.arrays import map_array
from mitosam.io.limits import read_text
from mitosam.io.pairing import Pairing, pair
from mitosam.io.volume import ContentHash, Volume
from mitosam.progress import SILENT, Progress
from mitosam.storage import atomic_path, write_text

IMAGES, LABELS, INFO = "images.npy", "labels.npy", "prepared.json"
AGAIN = "run `mitosam prepare` again with another --out"


class PreparedInfo(BaseModel):
    """What `prepared.json` says; the file is written last, so where it stands, all is there."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str
    shape_zyx: tuple[int, int, int]
    voxel_size_nm: tuple[float, float, float] | None
    columns: tuple[int, int]
    image_dtype: str
    normalisation: dict[str, str]
    coding: Coding
    pairing: str
    images_sha256: str
    masks_sha256: str
    num_empty_sections: int
    foreground_px: int
    images_checksum: str | None = None
    labels_checksum: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PreparedVolume:
    """Images in 0 to 255 and instance ids, both mapped from disk and read-only.

    Sections are numbered from 0 in the order of the images. Binary masks have ids of their own in
    each section; the ids of instance masks are kept.
    """

    folder: Path
    info: PreparedInfo
    images: UInt8[np.ndarray, "z y x"]
    labels: Int[np.ndarray, "z y x"]

    @classmethod
    def open(cls, folder: Path) -> PreparedVolume:
        """A folder that `prepare_volume` completed.

        Its files are read once for their checksums, which older versions did not write.

        Raises
        ------
        InputNotFoundError
            There is none, or its preparation did not end.
        InputError
            Its files do not fit together, or are damaged.
        """
        info = _read_info(folder)
        images = _map(folder / IMAGES, info.shape_zyx, info.images_checksum)
        labels = _map(folder / LABELS, info.shape_zyx, info.labels_checksum)
        return cls(folder=folder, info=info, images=images, labels=labels)

    @property
    def name(self) -> str:
        """The volume's name in scores and reports."""
        return self.info.name

    @property
    def shape_zyx(self) -> tuple[int, int, int]:
        """Sections, height and width."""
        return self.info.shape_zyx

    @property
    def voxel_size_nm(self) -> tuple[float, float, float] | None:
        """z, y, x, where known."""
        return self.info.voxel_size_nm

    @property
    def normalisation(self) -> Normalisation:
        """How the images came to 0 to 255."""
        return Normalisation.from_dict(self.info.normalisation)

    @property
    def images_sha256(self) -> str:
        """The hash of the images as they were given."""
        return self.info.images_sha256

    @property
    def masks_sha256(self) -> str:
        """The hash of the masks as they were given."""
        return self.info.masks_sha256


def prepare_volume(
    images: Volume,
    masks: Volume,
    folder: Path,
    *,
    pairing: Pairing | None = None,
    normalisation: Normalisation | None = None,
    columns: tuple[int, int] | None = None,
    voxel_size_nm: tuple[float, float, float] | None = None,
    name: str | None = None,
    progress: Progress = SILENT,
) -> PreparedVolume:
    """Write `images.npy`, `labels.npy` and `prepared.json` to `folder`, section by section.

    Parameters
    ----------
    normalisation
        One that a model was trained with; measured on the images where it is not given.
    columns
        First and one past the last pixel column to keep; all where it is not given.
    voxel_size_nm
        z, y, x; taken from the images' or masks' file where it is not given.
    """
    pairing = pairing or pair(images, masks)
    normalisation = normalisation or measure_normalisation(images)
    survey = survey_masks(masks, progress)
    columns = columns or (0, images.shape_zyx[2])
    shape = (*images.shape_zyx[:2], columns[1] - columns[0])
    (folder / INFO).unlink(missing_ok=True)
    images_sha256 = _write_images(folder / IMAGES, images, normalisation, columns, progress)
    counts = _write_labels(folder / LABELS, masks, survey, pairing, columns, progress)
    info = PreparedInfo(
        name=name or images.name,
        shape_zyx=shape,
        voxel_size_nm=voxel_size_nm or images.voxel_size_nm or masks.voxel_size_nm,
        columns=columns,
        image_dtype=images.dtype.name,
        normalisation=normalisation.to_dict(),
        coding=survey.coding,
        pairing=pairing.describe(),
        images_sha256=images_sha256,
        masks_sha256=survey.sha256,
        num_empty_sections=counts.num_empty_sections,
        foreground_px=counts.foreground_px,
        images_checksum=checksum_of_file(folder / IMAGES),
        labels_checksum=checksum_of_file(folder / LABELS),
    )
    sealed = sealed_object(info.model_dump(mode="json"))
    write_text(folder / INFO, json.dumps(sealed, indent=2) + "\n")
    return PreparedVolume.open(folder)


def prepare_halves(
    images: Volume,
    masks: Volume,
    folder: Path,
    *,
    pairing: Pairing | None = None,
    normalisation: Normalisation | None = None,
    voxel_size_nm: tuple[float, float, float] | None = None,
    name: str | None = None,
    progress: Progress = SILENT,
) -> tuple[PreparedVolume, PreparedVolume]:
    """`folder`/left to train on and `folder`/right to report on, for one or two sections.

    The right is normalised as the left.
    """
    halves = split_halves(images.shape_zyx[2])
    found: list[PreparedVolume] = []
    for side, columns in (("left", halves.left), ("right", halves.right)):
        found.append(
            prepare_volume(
                images,
                masks,
                folder / side,
                pairing=pairing,
                normalisation=found[0].normalisation if found else normalisation,
                voxel_size_nm=voxel_size_nm,
                columns=columns,
                name=f"{name or images.name} {side}",
                progress=progress,
            )
        )
    return found[0], found[1]


@dataclass(frozen=True, slots=True)
class _Counts:
    num_empty_sections: int
    foreground_px: int


def _write_images(
    path: Path,
    images: Volume,
    normalisation: Normalisation,
    columns: tuple[int, int],
    progress: Progress,
) -> str:
    """Write the normalised images; the result is the hash of what was read."""
    depth, height, _ = images.shape_zyx
    digest = ContentHash(images.shape_zyx, images.dtype)
    shape = (depth, height, columns[1] - columns[0])
    with _new_array(path, shape, np.dtype(np.uint8)) as file:
        for z in progress.track(
            range(depth), f"reading images {images.name}", total=depth, unit="section"
        ):
            section = read_finite(images, z)
            digest.add(section)
            _append(file, normalisation.apply(section[:, slice(*columns)]))
    return digest.hexdigest()


def _write_labels(
    path: Path,
    masks: Volume,
    survey: MaskSurvey,
    pairing: Pairing,
    columns: tuple[int, int],
    progress: Progress,
) -> _Counts:
    """Write instance ids in the order of the images."""
    num_empty = foreground_px = 0
    shape = (len(pairing.sections), masks.shape_zyx[1], columns[1] - columns[0])
    with _new_array(path, shape, survey.label_dtype) as file:
        for _, z in progress.track(
            sorted(pairing.sections), f"labelling masks {masks.name}", unit="section"
        ):
            labels = survey.to_labels(masks.section(z)[:, slice(*columns)])
            num_px = int(np.count_nonzero(labels))
            num_empty += int(num_px == 0)
            foreground_px += num_px
            _append(file, labels)
    if foreground_px == 0:
        raise InputError(
            f"no mitochondria in columns {columns[0]} to {columns[1]} of the masks of {masks.name}"
        )
    return _Counts(num_empty, foreground_px)


@contextmanager
def _new_array(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Iterator[IO[bytes]]:
    """A file with the header of an .npy array, to which the sections are appended.

    Appending, rather than mapping the file, makes a full disk an error instead of a crash.
    """
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        yield file


def _append(file: IO[bytes], section: np.ndarray[Any, Any]) -> None:
    file.write(np.ascontiguousarray(section).data)


def _read_info(folder: Path) -> PreparedInfo:
    path = folder / INFO
    if not path.is_file():
        raise InputNotFoundError(f"{folder} holds no prepared volume (no {INFO}); {AGAIN}")
    text = _info_text(path)
    try:
        found = json.loads(text)
        return PreparedInfo.model_validate(unsealed_object(path, found))
    except DamagedFileError as error:
        raise damaged(path, error.what, way_out=AGAIN) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = f"at {'.'.join(map(str, first['loc']))}"
        raise damaged(path, f"{where}: {first['msg']}", way_out=AGAIN) from error
    except (ValueError, AttributeError, RecursionError) as error:
        raise damaged(path, f"at its start: {error}", way_out=AGAIN) from error


def _info_text(path: Path) -> str:
    try:
        return read_text(path)
    except UnicodeDecodeError as error:
        raise damaged(path, f"at its start: {error}", way_out=AGAIN) from error


def _map(path: Path, shape_zyx: tuple[int, int, int], expected: str | None) -> np.ndarray[Any, Any]:
    array = map_array(path, AGAIN)
    if array.shape != shape_zyx:
        raise InputError(f"{path} has shape {array.shape}, but {INFO} says {shape_zyx}; {AGAIN}")
    if expected is not None and checksum_of_file(path) != expected:
        raise damaged(path, "its checksum does not fit", way_out=AGAIN)
    return array
