"""The model of a run, on its device and in its precision, with the cache of its embeddings."""

from __future__ import annotations

import ctypes
import logging
import platform
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8

from mitosam.config import RunSettings
from mitosam.embeddings import CacheSettings, EmbeddingCache
from mitosam.errors import SettingsError
from mitosam.geometry import ModelFrame
from mitosam.inference.tiles import Encode
from mitosam.models.frontier import Frontier
from mitosam.models.input_size import resize_input
from mitosam.models.load import load_model
from mitosam.models.precision import choose_precision
from mitosam.models.promptable import Promptable
from mitosam.models.settings import ModelSettings
from mitosam.models.tuned import load_tuned
from mitosam.ranks import current

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedModel:
    """A base model and the cache that holds its embeddings."""

    sam: Promptable
    cache: EmbeddingCache


def load_base(settings: RunSettings) -> LoadedModel:
    """The base model that the settings name."""
    keep_freed_memory()
    loaded = resize_input(load_model(settings.model.name), settings.model.input_px)
    sam = place(loaded, settings.model)
    return LoadedModel(sam=sam, cache=open_cache(sam, settings.cache))


def place(sam: Promptable, settings: ModelSettings) -> Promptable:
    """The model on its device, computing in its precision."""
    device = choose_device(settings.device)
    sam.precision = choose_precision(settings.precision, device)
    log.info("%s on %s in %s", sam.name, device, sam.precision)
    return sam.to(device)


def choose_device(requested: str) -> torch.device:
    """The device of that name, or a GPU if there is one for "auto"; of several processes, its own.

    Raises
    ------
    SettingsError
        There is no such device here.
    """
    ranks = current()
    if ranks.device and requested != "cpu":
        return torch.device(ranks.device)
    if requested == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(requested)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            f"device {requested} is not there ({str(error).splitlines()[0]}); use cpu or auto"
        ) from error
    return device


def with_tuned(model: LoadedModel, weights: Path, settings: CacheSettings) -> LoadedModel:
    """The model with a tuned model's weights put into it, and the cache of its embeddings.

    Raises
    ------
    ModelError
        They were trained from another base.
    """
    load_tuned(weights, model.sam)
    return LoadedModel(sam=model.sam, cache=open_cache(model.sam, settings))


def open_cache(sam: Promptable, settings: CacheSettings) -> EmbeddingCache:
    """The cache of this model's embeddings."""

    def encode(pixels: UInt8[np.ndarray, "h w"], frame: ModelFrame) -> Float[np.ndarray, "C h w"]:
        return sam.encode(sam.prepare(pixels, frame))[0].cpu().numpy()

    return EmbeddingCache(
        settings,
        model_name=sam.name,
        weights_hash=sam.encoder_hash,
        precision=sam.precision,
        encode=encode,
    )


def open_feature_cache(
    sam: Promptable, frontier: Frontier, settings: CacheSettings
) -> EmbeddingCache:
    """The cache of what this model's encoder computes before its first trained layer."""
    if frontier.is_embedding:
        return open_cache(sam, settings)

    def encode(pixels: UInt8[np.ndarray, "h w"], frame: ModelFrame) -> Float[np.ndarray, ...]:
        return frontier.front(sam.prepare(pixels, frame))[0].cpu().numpy()

    return EmbeddingCache(
        settings,
        model_name=sam.name,
        weights_hash=sam.encoder_hash,
        precision=sam.precision,
        stage=f"before-{frontier.name}",
        encode=encode,
    )


def encode_cached(cache: EmbeddingCache) -> Encode:
    """A tile's embedding, from the cache where it is there."""

    def encode(pixels: UInt8[np.ndarray, "h w"], frame: ModelFrame) -> Float[np.ndarray, "C h w"]:
        return np.asarray(cache.load(cache.fill_one(pixels, frame)))

    return encode


def keep_freed_memory() -> None:
    """Let glibc keep freed memory instead of returning it, which else costs a quarter of the time.

    Source: `mallopt(3)`; each large tensor would be mapped anew and its pages faulted in again.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    for parameter, value in ((_M_MMAP_THRESHOLD, 1 << 30), (_M_TRIM_THRESHOLD, (1 << 31) - 1)):
        if not libc.mallopt(parameter, value):
            log.debug("mallopt refused %d for parameter %d", value, parameter)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
