"""The segmenter of a model that a user names, or of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float, UInt8
from pydantic import BaseModel

from mitosam.config import RunSettings
from mitosam.data.intensity import NUM_SAMPLED_SECTIONS
from mitosam.geometry import ModelFrame
from mitosam.inference.head_maps import PixelModel
from mitosam.inference.instance_settings import InstanceSettings
from mitosam.inference.tiles import Encode
from mitosam.models.head import Head, HeadShape
from mitosam.models.input_size import resize_input
from mitosam.models.load import EMBEDDED, load_model
from mitosam.models.promptable import Promptable
from mitosam.models.settings import ModelSettings
from mitosam.models.shipped_head import MIN_AREA_PX, load_shipped_head
from mitosam.models.tuned import load_head, read_tuned_info, update_info
from mitosam.workflows.automatic import METHODS, AutomaticInfo, ReadSection, Segmenter
from mitosam.workflows.head import seen_by_head
from mitosam.workflows.models import LoadedModel, encode_cached, place, with_tuned
from mitosam.workflows.runs import Run
from mitosam.workflows.tuned_model import UsableModel, settings_of, tuned_weights

Section = TypeVar("Section", bound=BaseModel)


def segmenter_of(usable: UsableModel, model: Path | str, settings: RunSettings) -> Segmenter:
    """The automatic methods of a model; each tile is encoded when it is asked for, and not kept.

    What `settings` do not name of the methods is as it was when the model's thresholds were chosen.
    """
    weights = tuned_weights(Path(model))
    shipped = has_shipped_head(model)
    head = load_head(weights) if weights else load_shipped_head() if shipped else None
    trained = _trained_settings(usable)
    base = None if head is None else base_of_head(head.shape, usable, settings.model)
    return Segmenter(
        sam=usable.sam,
        tile_px=usable.tile_px,
        encode=encode_with(usable.sam),
        encode_for_head=base and encode_with(base),
        head=None if head is None else pixel_model(head, usable.sam),
        info=_SHIPPED if shipped else _chosen(usable),
        prompted=_named_over(trained.prompted, settings.prompted),
        grid=_named_over(trained.grid, settings.grid),
    )


def base_of_head(
    shape: HeadShape, usable: UsableModel, settings: ModelSettings
) -> Promptable | None:
    """The base model, for a head that was trained on its embeddings instead of the tuned ones."""
    if shape.embedding_of == "tuned" or usable.info is None or not usable.sam.has_tuned_encoder:
        return None
    base = resize_input(load_model(usable.info.base_name), usable.sam.input_px)
    return place(base, settings)


def has_shipped_head(model: Path | str) -> bool:
    """Whether the name is that of the embedded model, whose head knows made-up volumes alone."""
    return str(model) == EMBEDDED and tuned_weights(Path(model)) is None


_SHIPPED = AutomaticInfo(instances={"head": InstanceSettings(min_area_px=MIN_AREA_PX)})


def _chosen(usable: UsableModel) -> AutomaticInfo:
    return AutomaticInfo.parse(usable.info.automatic_json if usable.info else "")


def suit_shipped_head(
    segmenter: Segmenter, read: ReadSection, num_sections: int, z_radius: int
) -> Segmenter:
    """The shipped head for a volume's own grey values, with the median over `z_radius` sections.

    `read` gives sections in 0 to 255. Their mean and standard deviation take the place of those of
    the head's training. Black is left out of them, as it often is no image.
    """
    head = segmenter.head
    assert head is not None, "the embedded model has a head"
    picks = np.unique(np.linspace(0, num_sections - 1, NUM_SAMPLED_SECTIONS).round().astype(int))
    sections = [read(int(z)) for z in picks]
    grey = np.concatenate([section[section > 0] for section in sections])
    shape = head.shape
    if grey.size and grey.std() > 1:
        own = {"grey_mean": float(grey.mean()), "grey_std": float(grey.std())}
        shape = shape.model_copy(update=own)
    network = load_shipped_head()
    network.shape = shape
    found = segmenter.info.settings_of("head").model_copy(update={"z_radius": z_radius})
    return replace(
        segmenter,
        head=pixel_model(network, segmenter.sam),
        info=segmenter.info.model_copy(update={"instances": dict.fromkeys(METHODS[:2], found)}),
    )


def _trained_settings(usable: UsableModel) -> RunSettings:
    """The settings of a tuned model's training; of a base model, the defaults."""
    return settings_of(usable.info) if usable.info else RunSettings()


def _named_over(trained: Section, settings: Section) -> Section:
    """What training used, but for what was named."""
    return trained.model_copy(update=settings.model_dump(include=settings.model_fields_set))


def segmenter_of_run(run: Run, model: LoadedModel) -> Segmenter:
    """The automatic methods of a run's tuned model; embeddings come from and go to its cache."""
    model = with_tuned(model, run.tuned_weights, run.settings.cache)
    info = read_tuned_info(run.tuned_weights)
    head = load_head(run.tuned_weights)
    seen = None if head is None else seen_by_head(head.shape, model, run.settings)
    return Segmenter(
        sam=model.sam,
        tile_px=run.settings.data.tile_side_px,
        encode=encode_cached(model.cache),
        encode_for_head=encode_cached(seen.cache) if seen and seen is not model else None,
        head=None if head is None else pixel_model(head, model.sam),
        info=AutomaticInfo.parse(info.automatic_json),
        prompted=run.settings.prompted,
        grid=run.settings.grid,
    )


def save_info(run: Run, info: AutomaticInfo) -> None:
    """Put what validation chose into the run's model."""
    tuned = read_tuned_info(run.tuned_weights)
    update_info(
        run.tuned_weights, tuned.model_copy(update={"automatic_json": info.model_dump_json()})
    )


def pixel_model(head: Head, sam: Promptable) -> PixelModel:
    """A head beside the SAM it belongs to."""
    return PixelModel(network=head.to(sam.device), shape=head.shape, precision=sam.precision)


def encode_with(sam: Promptable) -> Encode:
    """A tile's embedding, computed now."""

    def encode(pixels: UInt8[np.ndarray, "h w"], frame: ModelFrame) -> Float[torch.Tensor, "C h w"]:
        return sam.encode(sam.prepare(pixels, frame))[0]

    return encode
