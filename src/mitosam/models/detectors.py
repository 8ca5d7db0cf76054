"""One way in for every text-grounded detector: `load_detector(folder_or_name)`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from mitosam.errors import ModelError, ModelNotFoundError
from mitosam.models.concepts import VIDEO_TYPE, Concepts
from mitosam.models.detections import TextDetector
from mitosam.models.grounding_dino import GroundingDino
from mitosam.models.hub import find_in_hub, is_hub_name
from mitosam.models.owl import Owl
from mitosam.models.weight_files import read_json

Family = Callable[[Path, dict[str, object], str, torch.device], TextDetector]
FAMILIES: dict[str, Family] = {
    "grounding-dino": GroundingDino,
    "owlv2": Owl,
    "sam3": Concepts,
    VIDEO_TYPE: Concepts,
}
"""By the model_type of a folder's config.json."""
EXAMPLES = ("IDEA-Research/grounding-dino-tiny", "google/owlv2-base-patch16-ensemble")
FILES = ("*.json", "*.txt", "*.safetensors")
"""What to fetch of a model: no pickle and no code."""


def load_detector(
    folder_or_name: str | Path,
    *,
    device: torch.device | str = "cpu",
    allow_download: bool = False,
) -> TextDetector:
    """A detector ready to be asked, from a Hugging Face folder or a hub name on this machine.

    Its config.json says whether it is Grounding DINO, OWLv2 or SAM 3. Nothing is unpickled, no
    code of the folder is run, and nothing is fetched unless `allow_download`.

    Raises
    ------
    ModelNotFoundError
        Something of it is not on this machine; the message says what to fetch, and to where.
    ModelError
        It is damaged, of another family, or needs unpickling.
    """
    name, path = str(folder_or_name), Path(folder_or_name).expanduser()
    if path.is_dir():
        return _load_folder(path, path.resolve().name, torch.device(device))
    if is_hub_name(name) and not path.exists():
        found = find_in_hub(name, allow_download=allow_download, files=FILES)
        return _load_folder(found, name, torch.device(device))
    raise ModelNotFoundError(
        f"there is no detector {name}; give the folder or the hub name of a Grounding DINO, an "
        f"OWLv2 or a SAM 3, such as {EXAMPLES[0]}"
    )


def _load_folder(folder: Path, name: str, device: torch.device) -> TextDetector:
    if not (folder / "config.json").is_file():
        raise ModelNotFoundError(f"{folder} holds no config.json; give the folder of a detector")
    config = read_json(folder / "config.json")
    kind = config.get("model_type")
    if not isinstance(kind, str) or kind not in FAMILIES:
        raise ModelError(
            f"a detector must be of type {', '.join(FAMILIES)}; config.json in {folder} says {kind}"
        )
    return FAMILIES[kind](folder, config, name, device)
