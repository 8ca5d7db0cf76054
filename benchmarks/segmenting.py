"""Time of each stage and peak memory of `mitosam segment` on a stack, by our methods or a U-Net."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import UInt8

from benchmarks.clock import Clock
from benchmarks.fresh import reply
from benchmarks.segment_subject import MODEL, head_shape, stack_name, stored_maps
from mitosam.inference.head_maps import PixelModel
from mitosam.inference.map_store import MapStore
from mitosam.io.ome_zarr_writer import ZarrDraft
from mitosam.io.open import open_volume
from mitosam.workflows import (
    automatic,
    automatic_model,
    segment,
    segment_job,
    segment_volumes,
)
from mitosam.workflows.automatic import Method, Segmenter
from mitosam.workflows.rival import UNet

Way = Literal["head", "prompted", "U-Net"]
ENCODING = "encoding tiles"
STAGES = {
    (PixelModel, "maps"): "network",
    (automatic, "segment_candidates"): "mask decoder",
    (segment_volumes, "fill_maps"): "reading, joining tiles, storing maps",
    (automatic, "label_maps"): "maps to instances",
    (MapStore, "find"): "maps to instances",
    (ZarrDraft, "write_block"): "writing volumes",
    (ZarrDraft, "finish"): "writing volumes",
    (segment, "measure_volume"): "measuring",
    (segment, "write_previews"): "previews",
    (segment, "write_segment_report"): "report",
}


def measure(*, folder: str, way: Way, num_sections: int) -> dict[str, Any]:
    """Seconds of the whole and of each stage, on a stack that `segment_subject` wrote."""
    images = Path(folder) / stack_name(num_sections)
    height, width = open_volume(images).shape_zyx[1:]
    clock = Clock()
    maps = stored_maps(Path(folder), (height, width))
    with (
        tempfile.TemporaryDirectory(dir=folder) as out,
        _given_maps(maps),
        _segmenter(way, clock),
        clock.watching(STAGES),
    ):
        started = time.perf_counter()
        with clock.stage("loading, and the rest"):
            result = segment.segment(
                images, Path(out) / "result", model=Path(folder) / MODEL, method=_method(way)
            )
        total = time.perf_counter() - started
    return {
        "num_sections": num_sections,
        "total_s": total,
        "stages_s": dict(clock.seconds),
        "num_instances": len(result.instances),
    }


def _method(way: Way) -> Method:
    return "head" if way == "U-Net" else way


@contextmanager
def _given_maps(maps: Iterator[UInt8[np.ndarray, "2 h w"]]) -> Iterator[None]:
    """The network runs, and the next given maps take the place of its own."""
    compute = PixelModel.maps

    def instead(*args: Any, **settings: Any) -> UInt8[np.ndarray, "2 h w"]:  # noqa: ANN401
        made, given = compute(*args, **settings), next(maps)
        assert made.shape == given.shape
        return given

    with _replaced(PixelModel, "maps", instead):
        yield


@contextmanager
def _segmenter(way: Way, clock: Clock) -> Iterator[None]:
    """The loaded segmenter encodes under the clock, and has the rival's network if asked."""
    load = automatic_model.segmenter_of

    def instead(*args: Any) -> Segmenter:  # noqa: ANN401
        loaded = load(*args)
        timed = replace(loaded, encode=clock.timed(ENCODING, loaded.encode))
        return timed if way != "U-Net" else replace(timed, head=_rival(loaded))

    with _replaced(segment_job, "segmenter_of", instead):
        yield


@contextmanager
def _replaced(owner: object, name: str, new: Callable[..., Any]) -> Iterator[None]:
    original = getattr(owner, name)
    setattr(owner, name, new)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _rival(segmenter: Segmenter) -> PixelModel:
    """The U-Net with random weights, on one section without an embedding, as in `rival_model`."""
    torch.manual_seed(0)
    shape = head_shape(0).of_pixels_alone()
    network = UNet(shape).to(segmenter.sam.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return PixelModel(network=network, shape=shape, precision=segmenter.sam.precision)


if __name__ == "__main__":
    reply(measure)
