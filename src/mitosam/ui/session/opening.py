"""Opening a session: a new one, or one that was left, or one that begins with given labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cc3d
import numpy as np
from jaxtyping import Int

from mitosam.config import RunSettings, resolve_settings
from mitosam.data.masks import survey_masks
from mitosam.errors import InputError, OutputExistsError, SettingsError
from mitosam.io.hdf5 import split_dataset
from mitosam.io.open import open_volume
from mitosam.io.place import Place, Url
from mitosam.io.volume import Volume
from mitosam.models.detectors import load_detector
from mitosam.progress import SILENT, Progress
from mitosam.ui.session.kept import LABELS, SUFFIX
from mitosam.ui.session.model_assistant import ModelAssistant
from mitosam.ui.session.reading import fingerprint
from mitosam.ui.session.session import MODEL, Assist, Session
from mitosam.ui.session.store import AnnotationStore
from mitosam.ui.session.tiles import EncoderTurns
from mitosam.workflows.models import choose_device
from mitosam.workflows.voxel_sizes import VoxelSize, choose_voxel_size


def open_session(
    images: Place,
    *,
    labels: Place | None = None,
    model: Path | str | None = None,
    out: Path | None = None,
    voxel_size_nm: VoxelSize | None = None,
    detector: Path | str | None = None,
    settings: RunSettings | None = None,
    progress: Progress = SILENT,
) -> Session:
    """A session on a volume; what was done in `out` before is there again.

    Parameters
    ----------
    images
        An image, a stack, an OME-Zarr or a folder of sections; a path or a URL.
    labels
        Ids, or a mask whose pieces become objects, with which a new session begins.
    model
        A run, its `model.safetensors`, or a base model (which outlines what is pointed at only); by
        default the one taught here last, else the embedded one.
    out
        The folder of the work; by default beside the images, with the ending `.mitosam`;
        to be given where they lie at a URL.
    detector
        A text-grounded detector for words that are none of the model's own; see `load_detector`.

    Raises
    ------
    InputError
        `out` holds the work on another volume, or `labels` are of another shape.
    OutputExistsError
        `labels` are given and there is work already.
    StorageError
        `out` is in use by another session, damaged, or cannot be written.
    """
    volume = open_volume(images)
    size = choose_voxel_size(volume, voxel_size_nm)
    folder = work_folder(images) if out is None else out
    settings = settings or resolve_settings()
    assist = _assist_on(volume, size, settings, detector)
    store = AnnotationStore(folder / LABELS, volume.shape_zyx)
    with _closed_on_error(store):
        _claim(store, folder, volume)
        store.note("voxel_size_nm", size)
        session = Session(
            volume,
            store,
            model or _taught(store) or settings.model.name,
            assist,
            folder=folder,
            settings=settings,
            voxel_size_nm=size,
        )
    if labels is not None:
        with _closed_on_error(session):
            _take_labels(session, labels, progress)
    return session


def _assist_on(
    volume: Volume, size: VoxelSize | None, settings: RunSettings, detector: Path | str | None
) -> Assist:
    """Any model by name at work on the volume; all take turns, and share the detector."""
    turns = EncoderTurns()
    device = choose_device(settings.model.device)
    words = None if detector is None else load_detector(detector, device=device)

    def assist(name: Path | str, changed: Callable[[], None]) -> ModelAssistant:
        return ModelAssistant(
            name, volume, settings,
            turns=turns, voxel_size_nm=size, detector=words, changed=changed,
        )  # fmt: skip

    return assist


@contextmanager
def _closed_on_error(opened: AnnotationStore | Session) -> Iterator[None]:
    """A block that leaves open what it works on only if it succeeds."""
    try:
        yield
    except BaseException:
        opened.close()
        raise


def work_folder(images: Place) -> Path:
    """Where the work on these images is kept by default: beside them.

    Raises
    ------
    SettingsError
        The images lie at a URL.
    """
    if isinstance(images, Url):
        raise SettingsError(f"{images} is not on this machine, so the work needs a folder: --out")
    images = images if images.exists() else Path(split_dataset(images.as_posix())[0])
    images = images.resolve()
    name = images.name if images.is_dir() else images.name.split(".")[0] or images.name
    return images.with_name(f"{name}{SUFFIX}")


def _claim(store: AnnotationStore, folder: Path, volume: Volume) -> None:
    """See that the work is on this volume and no other."""
    known, found = store.fact("volume"), fingerprint(volume)
    if known is None:
        store.note("volume", found)
    elif known != found:
        raise InputError(
            f"{folder} holds the work on another volume than {volume.name}; choose another --out"
        )


def _taught(store: AnnotationStore) -> Path | None:
    """The model that was taught here and chosen, if it is still there."""
    taught = store.fact(MODEL)
    return Path(taught) if taught and Path(taught).exists() else None


def _take_labels(session: Session, path: Place, progress: Progress) -> None:
    if session.undo_title() is not None or session.annotated():
        raise OutputExistsError(
            f"{session.folder} holds labels already; leave --labels out to go on with them, or "
            "choose another --out"
        )
    labels = open_volume(path)
    if labels.shape_zyx != session.shape_zyx:
        raise InputError(
            f"{labels.name} has {' x '.join(map(str, labels.shape_zyx))} (z, y, x) and "
            f"{session.volume.name} has {' x '.join(map(str, session.shape_zyx))}; labels must be "
            "of the same size"
        )
    session.take_labels(_as_ids(labels, progress))


def _as_ids(labels: Volume, progress: Progress) -> Iterator[tuple[int, Int[np.ndarray, "h w"]]]:
    """The sections that hold objects, each with its ids."""
    survey = survey_masks(labels, progress)
    sections: Iterator[Int[np.ndarray, "h w"]]
    if survey.coding == "instances":
        sections = iter(survey.to_labels(section) for section in labels.sections())
    else:
        mask = np.stack([survey.to_labels(section) > 0 for section in labels.sections()])
        sections = iter(cc3d.connected_components(mask, connectivity=26))
    for z, section in enumerate(progress.track(sections, "opening labels", total=len(labels))):
        if section.any():
            yield z, section
