"""Which family a folder's config.json describes. docs/models.md says how to add one."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from huggingface_hub.errors import StrictDataclassError

from mitosam.errors import ModelError
from mitosam.models.promptable import Promptable
from mitosam.models.tiny_folder import TINY_MODEL_TYPE
from mitosam.models.weight_limits import check_size

Build = Callable[[Mapping[str, Any]], Promptable]

# By config.json's model_type. A video's model holds the image's, and is what the hub offers.
# Names, not functions: importing all families takes a second.
FAMILIES: dict[str, str] = {
    "sam": "mitosam.models.build:sam_of",
    TINY_MODEL_TYPE: "mitosam.models.build:tiny_of",
    "sam_hq": "mitosam.models.sam_hq:sam_hq_of",
    "sam2": "mitosam.models.sam2:sam2_of",
    "sam2_video": "mitosam.models.sam2:sam2_of",
    "edgetam": "mitosam.models.edgetam:edgetam_of",
    "edgetam_video": "mitosam.models.edgetam:edgetam_of",
    "sam3_tracker": "mitosam.models.sam3_tracker:sam3_tracker_of",
    "sam3_tracker_video": "mitosam.models.sam3_tracker:sam3_tracker_of",
    "sam3_video": "mitosam.models.sam3_tracker:sam3_tracker_of",
}


def build_family(
    config: Mapping[str, Any], where: str, held_bytes: int | None = None
) -> Promptable:
    """The model that a config.json describes, with weights not yet loaded.

    `held_bytes` is how large its weights are, where that is known.

    Raises
    ------
    ModelError
        It is of a type that no family here has, or does not fit its type, or is larger than its
        weights.
    """
    kind = str(config.get("model_type"))
    if kind not in FAMILIES:
        raise ModelError(
            f"{where} must hold a model of type sam or of its kin ({', '.join(FAMILIES)}), "
            f"its config.json says {kind}"
        )
    build: Build = pkgutil.resolve_name(FAMILIES[kind])
    try:
        check_numbers(config, where)
        if held_bytes is not None:
            check_size(lambda: build(config), held_bytes, where)
        return build(config)
    except ModelError:
        raise
    except (
        *(KeyError, TypeError, AttributeError, ValueError, ArithmeticError, IndexError),
        *(RuntimeError, AssertionError, MemoryError, StrictDataclassError),
    ) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{where} has a config.json that does not fit its type {kind} ({reason}); "
            "fetch or export the model again"
        ) from error


_MOST_LAYERS, _MOST_ELSE = 500, 1_000_000


def check_numbers(config: object, where: str, name: str = "") -> None:
    """Raise ModelError if a number is beyond any model's: each layer takes time and memory."""
    if isinstance(config, Mapping):
        for key, value in config.items():
            check_numbers(value, where, str(key))
    elif isinstance(config, list | tuple):
        for value in config:
            check_numbers(value, where, name)
    elif isinstance(config, int | float):
        most = _MOST_LAYERS if "layers" in name or "depth" in name else _MOST_ELSE
        if abs(config) > most:
            # Decimal: a whole number may be beyond every float.
            raise ModelError(
                f"{where} has a config.json in which {name[:50]} is {Decimal(config):.3g}, and no "
                f"model has more than {most}; fetch it again"
            )
