"""A session on a small volume with a model that outlines discs: quick, exact, no torch."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from mitosam.config import resolve_settings
from mitosam.embeddings import CacheSettings, EmbeddingCache
from mitosam.io.volume import Volume
from mitosam.models.pixels import prepare_tile
from mitosam.models.sam import Sam
from mitosam.ui.session.session import Session
from mitosam.ui.session.store import AnnotationStore
from tests.models.tiny_models import make_tiny_vit_sam
from tests.tiny_segmenter import write_tuned
from tests.ui.session.discs import SHAPE, DiscAssistant

SECTIONS = np.random.default_rng(0).integers(0, 255, (6, 150, 210), np.uint8)
TILE_PX = 100
PATIENCE_S = 120
_NEVER_END = ("zarr", "asyncio", "tqdm", "mitosam-read")  # pools that are kept


@pytest.fixture
def open_session(tmp_path):
    """Open the session of the folder, as often as wanted; each is closed at the end."""
    opened = []

    def make() -> Session:
        images = np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8)
        volume = Volume(
            name="discs.tif",
            shape_zyx=SHAPE,
            dtype=np.dtype(np.uint8),
            section_names=tuple(map(str, range(SHAPE[0]))),
            read_section=images.__getitem__,
        )
        store = AnnotationStore(tmp_path / "annotations.sqlite", SHAPE)
        session = Session(
            volume,
            store,
            "discs",
            lambda *_: DiscAssistant(),
            folder=tmp_path,
            settings=resolve_settings(),
        )
        opened.append(session)
        return session

    yield make
    for session in opened:
        session.close()


@pytest.fixture
def session(open_session):
    return open_session()


def until(holds) -> None:
    """Wait until another thread has come so far."""
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "another thread does not come on"


@pytest.fixture(scope="session")
def sam() -> Sam:
    return make_tiny_vit_sam(input_px=128)


class Encoder:
    """The model's encoder, which remembers the section and corner of each tile it was given."""

    def __init__(self, sam: Sam) -> None:
        self._sam = sam
        self.encoded: list[tuple[int, tuple[int, int]]] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def __call__(self, pixels, frame):
        y, x = frame.origin_yx
        places = SECTIONS[:, y : y + len(pixels), x : x + pixels.shape[1]]
        (z,) = np.flatnonzero((places == pixels).all(axis=(1, 2)))
        self.encoded.append((int(z), (y, x)))
        assert self.may_go_on.wait(60)
        return self._sam.encode(prepare_tile(pixels, frame))[0].numpy()

    @property
    def sections(self) -> list[int]:
        """The sections in the order in which they came first."""
        return list(dict.fromkeys(z for z, _ in self.encoded))


@pytest.fixture
def encoder(sam) -> Encoder:
    return Encoder(sam)


@pytest.fixture
def cache(tmp_path, encoder) -> EmbeddingCache:
    return EmbeddingCache(
        CacheSettings(folder=tmp_path / "embeddings"),
        model_name="tiny",
        weights_hash="0" * 64,
        precision="fp32",
        encode=encoder,
    )


@pytest.fixture(scope="session")
def tuned(tmp_path_factory, base_model):
    """A model with a head."""
    return write_tuned(tmp_path_factory.mktemp("tuned") / "model.safetensors", base_model)


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    left = [
        thread
        for thread in threading.enumerate()
        if thread not in before and not thread.name.startswith(_NEVER_END)
    ]
    assert not left, "a test must stop the threads it starts"
