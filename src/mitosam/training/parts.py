"""What a training changes of a model: its parameters, and where its frozen part ends."""

from __future__ import annotations

from dataclasses import dataclass

from mitosam.models.frontier import Frontier
from mitosam.models.lora import add_lora
from mitosam.models.part_settings import Part
from mitosam.models.parts import resolve_parts, trained_names
from mitosam.models.promptable import Promptable
from mitosam.training.settings import TrainingSettings
from mitosam.training.trained import TrainedParameters


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenParts:
    """The trained parameters, and the frontier before which nothing changes."""

    parts: tuple[Part, ...]
    trained: TrainedParameters
    frontier: Frontier
    names: tuple[str, ...]
    """Of the trained parameters, those that are the model's own and no adapters."""


def choose_parts(sam: Promptable, settings: TrainingSettings, *, seed: int) -> ChosenParts:
    """What the settings name, with everything else frozen, and adapters put in if they say so.

    Raises
    ------
    SettingsError
        The model has no such part.
    """
    chosen, late_blocks = resolve_parts(sam, settings.parts, settings.late_blocks)

    def names_of(parts: tuple[Part, ...]) -> tuple[str, ...]:
        return trained_names(sam, parts, late_blocks=late_blocks, lora=settings.lora)

    plain = names_of(tuple(part for part in chosen if part != "lora"))
    adapted = names_of(("lora",)) if "lora" in chosen else ()
    frontier = Frontier(sam, (*plain, *adapted))
    weights = dict(sam.named_parameters())
    named = {name: weights[name] for name in plain}
    if adapted:
        named |= add_lora(sam, settings.lora, seed=seed)
    sam.requires_grad_(False)
    return ChosenParts(
        parts=chosen, trained=TrainedParameters(named), frontier=frontier, names=plain
    )
