"""Models that are known by name and lie elsewhere: how to find them, and what to fetch."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

from mitosam.errors import ModelNotFoundError

logger = logging.getLogger(__name__)

_FILES = ("config.json", "*.safetensors", "*.safetensors.index.json")
_META = "https://dl.fbaipublicfiles.com/segment_anything"
_MOBILE = "https://github.com/ChaoningZhang/MobileSAM/raw/master/weights"
ORIGINAL_URLS = {
    "sam_vit_b_01ec64.pth": f"{_META}/sam_vit_b_01ec64.pth",
    "sam_vit_l_0b3195.pth": f"{_META}/sam_vit_l_0b3195.pth",
    "sam_vit_h_4b8939.pth": f"{_META}/sam_vit_h_4b8939.pth",
    "mobile_sam.pt": f"{_MOBILE}/mobile_sam.pt",
}
# segment-anything's short names, as its users know them.
SHORT_NAMES = {
    "vit_b": "facebook/sam-vit-base",
    "vit_l": "facebook/sam-vit-large",
    "vit_h": "facebook/sam-vit-huge",
}


def is_hub_name(name: str) -> bool:
    """Whether `name` has the form owner/model.

    >>> is_hub_name("facebook/sam-vit-base"), is_hub_name("models/sam_vit_b_01ec64.pth")
    (True, False)
    """
    is_file_name = name.endswith((".pth", ".pt", ".bin", ".safetensors"))
    return bool(re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name)) and not is_file_name


def find_in_hub(name: str, *, allow_download: bool, files: Sequence[str] = _FILES) -> Path:
    """The local folder of a hub model, fetched first if that is allowed and needed.

    `files` are the patterns of what is needed of it.

    Raises
    ------
    ModelNotFoundError
        It is not on this machine; the message says what to fetch and where to put it.
    """
    try:
        return Path(snapshot_download(name, allow_patterns=list(files), local_files_only=True))
    except LocalEntryNotFoundError as error:
        if not allow_download:
            raise ModelNotFoundError(_how_to_fetch(name, files)) from error
    logger.info("downloading %s from the Hugging Face hub", name)
    try:
        return Path(snapshot_download(name, allow_patterns=list(files)))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelNotFoundError(
            f"{name} could not be downloaded ({error}); {_how_to_fetch(name, files)}"
        ) from error


def not_found(name: str) -> ModelNotFoundError:
    """The error for a path or name that leads nowhere, with what to fetch where that is known."""
    file_name = Path(name).name
    if file_name in ORIGINAL_URLS:
        return ModelNotFoundError(
            f"{name} does not exist; fetch {ORIGINAL_URLS[file_name]} and put it there"
        )
    if name in SHORT_NAMES:
        return ModelNotFoundError(_how_to_fetch(SHORT_NAMES[name], _FILES))
    return ModelNotFoundError(
        f"there is no model {name}; give vit_t (embedded), a checkpoint file, a Hugging Face "
        f"folder, or a hub name such as {SHORT_NAMES['vit_b']}"
    )


def _how_to_fetch(name: str, files: Sequence[str]) -> str:
    letter = next((short for short, known in SHORT_NAMES.items() if known == name), None)
    urls = [
        url for file, url in ORIGINAL_URLS.items() if letter and file.startswith(f"sam_{letter}")
    ]
    other = f", or fetch {urls[0]} and give its path" if urls else ""
    # What `hf download` takes besides, as pickles of the same weights, is no small matter.
    only = "" if files == _FILES else "".join(f' --include "{pattern}"' for pattern in files)
    return (
        f"{name} is not on this machine; run `hf download {name}{only}` and give that name again, "
        f"or run it with `--local-dir FOLDER` and give FOLDER{other}"
    )
