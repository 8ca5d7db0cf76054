"""Encode once: a cache of image embeddings on disk, one file an image tile.

A file appears under its own name only when it is complete, so a killed run leaves nothing that is
later trusted and goes on where it stopped. It holds a checksum, looked at whenever it is read: one
that does not fit is removed and encoded again. Files of older versions have none and are read.

A file's name is the SHA-256 of the tile's pixels, the model's weights, the frame and the precision,
so no setting can be mixed up with another.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
from jaxtyping import Float, Float16, UInt8
from pydantic import BaseModel, ConfigDict, Field
from safetensors import SafetensorError
from safetensors.numpy import load, save

from mitosam.checksums import damaged
from mitosam.errors import DamagedFileError, StorageError
from mitosam.geometry import ModelFrame
from mitosam.progress import SILENT, Progress
from mitosam.sealed_tensors import check_tensors, seal_tensors
from mitosam.storage import atomic_path

log = logging.getLogger(__name__)

FORMAT = 1
# What a killed run left half written; no encoding takes as long.
ABANDONED_AFTER_S = 3600.0
Embedding = Float16[np.ndarray, "C h w"]


class CacheSettings(BaseModel):
    """Where image embeddings are kept between runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    folder: Path | None = None
    """Folder of the cache; by default MITOSAM_CACHE, or the user's cache folder."""
    limit_gb: float = Field(default=40, gt=0)
    """Size at which the embeddings unused for longest are removed, in gigabytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One image tile to encode: where it lies in the model's frame, and how to read its pixels."""

    frame: ModelFrame
    read: Callable[[], UInt8[np.ndarray, "h w"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """What the cache holds for one model."""

    model: str
    num_embeddings: int
    num_bytes: int
    last_used: float


class EmbeddingCache:
    """Embeddings of one model at one precision; folders of other models stand beside it.

    `encode` is asked for what is not there yet: it takes one tile's pixels and its frame, and
    returns the embedding, or what the encoder computes up to some `stage`.
    """

    def __init__(
        self,
        settings: CacheSettings,
        *,
        model_name: str,
        weights_hash: str,
        precision: str,
        stage: str = "",
        encode: Callable[[UInt8[np.ndarray, "h w"], ModelFrame], Float[np.ndarray, "C h w"]],
    ) -> None:
        self._root = cache_folder(settings)
        self._limit_bytes = int(settings.limit_gb * 1e9)
        self._identity = f"{weights_hash}-{precision}-{FORMAT}{stage and '-' + stage}"
        # A hub name holds a slash, and a folder within a folder would escape listing and clearing.
        plain_name = re.sub(r"[^\w.-]+", "_", f"{model_name}{stage and '-' + stage}")
        self.folder = self._root / f"{plain_name}-{weights_hash[:12]}-{precision}"
        self._encode = encode
        self._used: set[str] = set()

    def key(self, pixels: UInt8[np.ndarray, "h w"], frame: ModelFrame) -> str:
        """The name under which the embedding of these pixels is kept."""
        digest = hashlib.sha256(self._identity.encode())
        digest.update(f"{pixels.shape}-{frame.tile_px}-{frame.input_px}".encode())
        digest.update(np.ascontiguousarray(pixels).tobytes())
        return digest.hexdigest()

    def fill(self, tiles: Iterable[Tile], *, progress: Progress = SILENT) -> list[str]:
        """The keys of all tiles, in order, after encoding those that are not there yet."""
        wanted = list(tiles)
        keys = []
        for tile in progress.track(wanted, "encoding", unit="tile"):
            keys.append(self.fill_one(tile.read(), tile.frame))
        self.trim()
        return keys

    def get(self, key: str) -> Embedding | None:
        """The embedding kept under `key`; None if there is none, or it is damaged."""
        path = self._path(key)
        try:
            embedding = read_embedding(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (DamagedFileError, OSError) as error:
            log.warning("%s is damaged and will be encoded again: %s", path, error)
            path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(FileNotFoundError):  # another run may trim the cache meanwhile
            os.utime(path)
        return embedding

    def load(self, key: str) -> Embedding:
        """The embedding kept under `key`.

        Raises
        ------
        StorageError
            It is not there any more.
        """
        embedding = self.get(key)
        if embedding is None:
            raise StorageError(
                f"{self._path(key)} is gone from the cache while it is in use; "
                "run again, and raise cache.limit_gb if other runs share the cache"
            )
        return embedding

    def fill_one(self, pixels: UInt8[np.ndarray, "h w"], frame: ModelFrame) -> str:
        """The key of one tile, encoded now if it is not there yet."""
        key = self.key(pixels, frame)
        self._used.add(key)
        if self.get(key) is None:
            self._put(key, self._encode(pixels, frame))
        return key

    def _put(self, key: str, embedding: Float[np.ndarray, "C h w"]) -> None:
        with atomic_path(self._path(key)) as temporary:
            # Not save_file: on a full disk its error is no OSError.
            content = save({"embedding": np.ascontiguousarray(embedding, np.float16)})
            temporary.write_bytes(seal_tensors(content))

    def _path(self, key: str) -> Path:
        return self.folder / key[:2] / f"{key}.safetensors"

    def trim(self) -> None:
        """Remove what was unused for longest, by any model, until the cache is within its limit.

        What this object was asked for stays, whatever its size.
        """
        self._sweep()
        files = [file for folder in _model_folders(self._root) for file in _embeddings(folder)]
        excess = sum(stat.st_size for _, stat in files) - self._limit_bytes
        for path, stat in sorted(files, key=lambda item: item[1].st_mtime):
            if excess <= 0:
                return
            if path.stem not in self._used:
                path.unlink(missing_ok=True)
                excess -= stat.st_size
        if excess > 0:
            log.warning(
                "this run's embeddings alone exceed the cache's limit by %.1f GB", excess / 1e9
            )

    def _sweep(self) -> None:
        """Remove what killed runs left half written."""
        oldest = time.time() - ABANDONED_AFTER_S
        for path in self._root.glob("*/??/.*"):
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest:
                    path.unlink()


def read_embedding(path: Path) -> Embedding:
    """The embedding in a file of the cache.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    DamagedFileError
        It is not as it was written.
    """
    content = path.read_bytes()
    check_tensors(path, content)
    try:
        embedding: Embedding = load(content)["embedding"]
    except (SafetensorError, KeyError) as error:
        raise damaged(path, str(error)) from error
    return embedding


def cache_folder(settings: CacheSettings) -> Path:
    """The cache's root folder."""
    if settings.folder is not None:
        return settings.folder
    named = os.environ.get("MITOSAM_CACHE")
    return Path(named) if named else Path(platformdirs.user_cache_dir("mitosam")) / "embeddings"


def list_cache(settings: CacheSettings) -> list[CacheEntry]:
    """What the cache holds, a line a model."""
    return [_entry(folder) for folder in sorted(_model_folders(cache_folder(settings)))]


def clear_cache(settings: CacheSettings, *, model: str | None = None) -> int:
    """Remove all embeddings, or those of one model; the number of bytes that came free."""
    freed = 0
    for folder in _model_folders(cache_folder(settings)):
        if model is None or folder.name.startswith(model):
            for path in folder.glob("??/*.safetensors"):
                freed += path.stat().st_size
                path.unlink(missing_ok=True)
            _remove_empty(folder)
    return freed


def _remove_empty(folder: Path) -> None:
    """Remove a model's folder if nothing is left in it."""
    for path in [*folder.glob("??"), folder]:
        with contextlib.suppress(OSError):  # not empty
            path.rmdir()


def _model_folders(root: Path) -> list[Path]:
    return [folder for folder in root.iterdir() if folder.is_dir()] if root.is_dir() else []


def _embeddings(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The complete files of one model; what is being written has a name that begins with a dot."""
    for path in folder.glob("??/[!.]*.safetensors"):
        with contextlib.suppress(FileNotFoundError):  # another run may trim the cache meanwhile
            yield path, path.stat()


def _entry(folder: Path) -> CacheEntry:
    stats = [stat for _, stat in _embeddings(folder)]
    return CacheEntry(
        model=folder.name,
        num_embeddings=len(stats),
        num_bytes=sum(stat.st_size for stat in stats),
        last_used=max((stat.st_mtime for stat in stats), default=0.0),
    )
