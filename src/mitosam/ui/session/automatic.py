"""All mitochondria of some sections, as `mitosam segment` finds them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from mitosam.inference.confidence import ConfidenceCounter
from mitosam.inference.map_store import MapStore
from mitosam.progress import SILENT, Progress
from mitosam.ui.session.assistant import FoundObjects
from mitosam.workflows.automatic import Method, ReadSection, Segmenter


def segment_sections(
    segmenter: Segmenter,
    read: ReadSection,
    shape_zyx: tuple[int, int, int],
    sections: range,
    method: Method,
    progress: Progress = SILENT,
) -> FoundObjects:
    """The objects of consecutive sections of a volume, whose sections `read` gives in 0 to 255.

    An id is one mitochondrion on all of them; its confidence is the mean foreground of its pixels.
    Maps lie in a temporary folder; of each section only its labels are held.
    """
    depth, height, width = shape_zyx
    settings = segmenter.info.settings_of(method)
    settings = settings if len(sections) > 1 else settings.for_one_section()
    with tempfile.TemporaryDirectory(prefix="mitosam-") as folder:
        store = MapStore(Path(folder), (len(sections), height, width))
        compute = segmenter.mapper(method, read, depth)
        title = f"segmenting ({method})"
        store.fill(lambda place: compute(sections[place]), title=title, progress=progress)
        labels, counter = {}, ConfidenceCounter()
        for place, found in enumerate(store.label(settings, progress)):
            labels[sections[place]] = found.astype(np.int32)
            counter.add(found, store.foreground(place, settings.z_radius))
    return FoundObjects(labels=labels, confidence=counter.result())
