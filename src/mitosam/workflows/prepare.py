"""Images and masks in, a run with prepared volumes and a split out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mitosam.config import RunSettings
from mitosam.data.intensity import adopt_normalisation
from mitosam.data.manifest import Manifest, read_manifest
from mitosam.data.patches import Patch, list_patches
from mitosam.data.prepared import prepare_halves, prepare_volume
from mitosam.data.resampling import to_common_pixel
from mitosam.data.splits import Split, split_sections
from mitosam.errors import SettingsError
from mitosam.geometry import PatchGrid
from mitosam.io.open import open_volume
from mitosam.io.pairing import Pairing, pair
from mitosam.io.place import Place
from mitosam.io.volume import Volume
from mitosam.progress import SILENT, Progress
from mitosam.storage import sha256_of_file
from mitosam.workflows.datasets import check_dataset, describe_dataset, prepare_dataset
from mitosam.workflows.part_splits import only_test, train_and_validate
from mitosam.workflows.runs import Run, new_run
from mitosam.workflows.tile_size import Parts, resolve_tile

MIN_SECTIONS_FOR_SLABS = 3
# The part that is reported on where it is a volume of its own.
TEST = "test"


VoxelSize = tuple[float, float, float]
Opened = tuple[Volume, Volume, Pairing]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """What a run reads: a volume with masks, and if wanted another one to report on.

    Or the volumes that a `manifest` names; then `images` and `masks` are the manifest's own file.
    """

    images: Place
    masks: Place
    test_images: Place | None = None
    test_masks: Place | None = None
    voxel_size_nm: VoxelSize | None = None
    manifest: Manifest | None = None

    @classmethod
    def of_manifest(cls, path: Path, *, allow_outside: bool = False) -> Sources:
        """The volumes of a manifest; see `read_manifest`, also for what it raises."""
        manifest = read_manifest(path, allow_outside=allow_outside)
        return cls(images=path, masks=path, manifest=manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchCounts:
    """What cutting the sections into patches gave."""

    num_patches: int
    num_with_mitochondria: int
    lost_px_per_section: int

    @property
    def num_dropped(self) -> int:
        """Patches without mitochondria."""
        return self.num_patches - self.num_with_mitochondria


def prepare(
    sources: Sources,
    out: Path,
    settings: RunSettings,
    *,
    input_px: int | None = None,
    progress: Progress = SILENT,
) -> Run:
    """A new run in `out` with its data checked, normalised and split, and `data.tile_px` a number.

    `input_px` is the side of the model's input, for callers that have loaded it already.

    Raises
    ------
    InputError, InputNotFoundError
        The files cannot be used.
    OutputExistsError
        `out` holds something already.
    """
    settings = with_common_pixel(sources, settings)
    opened = None if sources.manifest else open_pair(sources.images, sources.masks)
    with new_run(out, settings) as run:
        return prepare_run(run, sources, opened, input_px=input_px, progress=progress)


def check_sources(run: Run, sources: Sources) -> None:
    """Raise SettingsError unless a prepared run was made from the pixels of these files."""
    if sources.manifest:
        check_dataset(run, sources.manifest)
        return
    volumes = [part.volume for part in run.parts()]
    first, last = volumes[0], volumes[-1]
    has_test = last.folder.name == TEST
    if has_test != (sources.test_images is not None):
        made = "with" if has_test else "without"
        raise SettingsError(f"{run.folder} was made {made} test images; resume it in the same way")
    opened, voxel_size_nm = at_pixel_size(
        open_pair(sources.images, sources.masks), run.settings, sources.voxel_size_nm
    )
    _check_pixels(run, sources.images, opened[0], first.images_sha256)
    _check_pixels(run, sources.masks, opened[1], first.masks_sha256)
    if sources.test_images and sources.test_masks:
        tested, _ = at_pixel_size(
            open_pair(sources.test_images, sources.test_masks), run.settings, None
        )
        _check_pixels(run, sources.test_images, tested[0], last.images_sha256)
        _check_pixels(run, sources.test_masks, tested[1], last.masks_sha256)
    if voxel_size_nm not in (None, first.voxel_size_nm):
        raise SettingsError(
            f"{run.folder} was made with voxel size {first.voxel_size_nm} nm, "
            f"got {sources.voxel_size_nm}; resume with the same, or choose another --out"
        )


def _check_pixels(run: Run, path: Place, volume: Volume, sha256: str) -> None:
    if volume.sha256() != sha256:
        raise SettingsError(
            f"{run.folder} was made from other data than {path}; "
            "resume with the same files, or choose another --out"
        )


def open_pair(images: Place, masks: Place) -> Opened:
    """Both volumes, once it is clear which mask belongs to which image."""
    image_volume, mask_volume = open_volume(images), open_volume(masks)
    return image_volume, mask_volume, pair(image_volume, mask_volume)


def with_common_pixel(sources: Sources, settings: RunSettings) -> RunSettings:
    """The settings with the common pixel size that a manifest asks for, unless they say another."""
    asked = sources.manifest and sources.manifest.common_pixel_nm
    if not asked or settings.data.common_pixel_nm is not None:
        return settings
    data = settings.data.model_copy(update={"common_pixel_nm": asked})
    return settings.model_copy(update={"data": data})


def at_pixel_size(
    opened: Opened, settings: RunSettings, voxel_size_nm: VoxelSize | None
) -> tuple[Opened, VoxelSize | None]:
    """The volumes scaled as `data.common_pixel_nm` asks, and the voxel size to note down then."""
    pixel_nm = settings.data.common_pixel_nm
    if pixel_nm is None:
        return opened, voxel_size_nm
    images, masks = to_common_pixel(*opened[:2], pixel_nm, voxel_size_nm)
    return (images, masks, opened[2]), images.voxel_size_nm


def prepare_run(
    run: Run,
    sources: Sources,
    opened: Opened | None = None,
    *,
    input_px: int | None = None,
    progress: Progress = SILENT,
) -> Run:
    """The run with its `prepared` folder filled and its settings resolved."""
    if sources.manifest:
        parts = prepare_dataset(run, sources.manifest, progress=progress)
    else:
        opened = opened or open_pair(sources.images, sources.masks)
        parts = _prepare_files(run, sources, opened, progress)
    run = resolve_tile(run, parts, input_px=input_px, progress=progress)
    record_parts(run, sources, parts, progress)
    return run


def _prepare_files(run: Run, sources: Sources, opened: Opened, progress: Progress) -> Parts:
    progress.say(opened[2].describe())
    opened, voxel_size_nm = at_pixel_size(opened, run.settings, sources.voxel_size_nm)
    images, masks, pairing = opened
    num_sections = images.shape_zyx[0]
    if sources.test_images and sources.test_masks:
        return _prepare_two_volumes(run, sources, opened, voxel_size_nm, progress)
    if num_sections < MIN_SECTIONS_FOR_SLABS and run.settings.split.kind != "given":
        return _prepare_halves(run, opened, voxel_size_nm, progress)
    split = split_sections(num_sections, run.settings.split, run.settings.seed)
    volume = prepare_volume(
        images,
        masks,
        run.prepared_folder / "volume",
        pairing=pairing,
        voxel_size_nm=voxel_size_nm,
        progress=progress,
    )
    return {"volume": (volume, split)}


def record_parts(run: Run, sources: Sources, parts: Parts, progress: Progress = SILENT) -> None:
    """Write down which volumes were prepared and what their sections are for."""
    run.record(_facts(run, sources, parts))
    run.write_parts({name: split for name, (_, split) in parts.items()})  # last: now it is prepared
    for name, (_, split) in parts.items():
        progress.say(f"{name}: {describe_split(split)}")


def _prepare_two_volumes(
    run: Run,
    sources: Sources,
    opened: Opened,
    voxel_size_nm: VoxelSize | None,
    progress: Progress,
) -> Parts:
    """Train on one volume, report on the other, which is normalised in the same way."""
    if run.settings.split.kind != "slabs":
        raise SettingsError(
            f'split.kind = "{run.settings.split.kind}" chooses sections to report on, and so do '
            "test images; give only one of them"
        )
    images, masks, pairing = opened
    assert sources.test_images is not None
    assert sources.test_masks is not None
    train = prepare_volume(
        images,
        masks,
        run.prepared_folder / "train",
        pairing=pairing,
        voxel_size_nm=voxel_size_nm,
        progress=progress,
    )
    tested = open_pair(sources.test_images, sources.test_masks)
    (test_images, test_masks, test_pairing), test_voxel_size_nm = at_pixel_size(
        tested, run.settings, None
    )
    progress.say(test_pairing.describe())
    test = prepare_volume(
        test_images,
        test_masks,
        run.prepared_folder / TEST,
        pairing=test_pairing,
        normalisation=adopt_normalisation(train.normalisation, test_images),
        voxel_size_nm=test_voxel_size_nm,
        progress=progress,
    )
    return {
        "train": (train, train_and_validate(train.shape_zyx[0], run.settings)),
        TEST: (test, only_test(test.shape_zyx[0])),
    }


def _prepare_halves(
    run: Run, opened: Opened, voxel_size_nm: VoxelSize | None, progress: Progress
) -> Parts:
    """One or two sections: train on their left, report on their right."""
    images, masks, pairing = opened
    left, right = prepare_halves(
        images,
        masks,
        run.prepared_folder,
        pairing=pairing,
        voxel_size_nm=voxel_size_nm,
        progress=progress,
    )
    return {
        "left": (left, train_and_validate(left.shape_zyx[0], run.settings)),
        "right": (right, only_test(right.shape_zyx[0])),
    }


def split_of_stack(num_sections: int, settings: RunSettings) -> Split:
    """The split of one stack; one or two sections both train and, with their right side, test."""
    if num_sections < MIN_SECTIONS_FOR_SLABS and settings.split.kind != "given":
        both = tuple(range(num_sections))
        return Split(train=both, validation=(), test=both, unused=(), leaky=False)
    return split_sections(num_sections, settings.split, settings.seed)


def describe_split(split: Split) -> str:
    """The split in words, sections counted from 1."""
    named = [
        ("train on", split.train),
        ("validate on", split.validation),
        ("report on", split.test),
    ]
    text = ", ".join(f"{verb} sections {ranges(part)}" for verb, part in named if part)
    if split.leaky:
        text += "; LEAKY: reported sections neighbour trained ones, which are near copies"
    return f"{text} ({split.note})" if split.note else text


def ranges(sections: tuple[int, ...]) -> str:
    """Sections counted from 0, written as ranges counted from 1.

    >>> ranges((0, 1, 2, 7))
    '1-3, 8'
    """
    runs: list[list[int]] = []
    for z in sections:
        if runs and runs[-1][1] == z - 1:
            runs[-1][1] = z
        else:
            runs.append([z, z])
    return ", ".join(str(a + 1) if a == b else f"{a + 1}-{b + 1}" for a, b in runs)


def count_patches(patches: list[Patch], grid: PatchGrid) -> PatchCounts:
    """How many patches there are, and how many hold mitochondria."""
    return PatchCounts(
        num_patches=len(patches),
        num_with_mitochondria=sum(patch.num_objects > 0 for patch in patches),
        lost_px_per_section=grid.lost_px,
    )


def _facts(run: Run, sources: Sources, parts: Parts) -> dict[str, object]:
    settings = run.settings.data
    facts = _named_files(sources)
    for name, (volume, split) in parts.items():
        _, height, width = volume.shape_zyx
        grid = PatchGrid((height, width), settings.patch_px, settings.edge)
        counts = count_patches(list_patches(volume, settings.patch_px, settings.edge), grid)
        facts[f"volume {name}"] = {
            **volume.info.model_dump(mode="json"),
            "split": describe_split(split),
            "patches": counts.num_patches,
            "patches_with_mitochondria": counts.num_with_mitochondria,
            "patches_without": counts.num_dropped,
            "pixels_lost_per_section": counts.lost_px_per_section,
        }
    return facts


def _named_files(sources: Sources) -> dict[str, object]:
    path = sources.images
    if sources.manifest and isinstance(path, Path):
        return {
            "manifest": str(path),
            "manifest_sha256": sha256_of_file(path),
            "data set": describe_dataset(sources.manifest),
        }
    return {
        "images": str(sources.images),
        "masks": str(sources.masks),
        "test_images": str(sources.test_images) if sources.test_images else None,
        "test_masks": str(sources.test_masks) if sources.test_masks else None,
    }
