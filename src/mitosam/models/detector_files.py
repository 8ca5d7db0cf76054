"""The parts of a detector's folder: network, tokenizer; nothing in them is ever run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from mitosam.errors import InputError, ModelError, ModelNotFoundError
from mitosam.models.families import check_numbers
from mitosam.models.weight_files import shard_names
from mitosam.models.weight_limits import check_safetensors, check_size

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
CLIP_TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"))
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_REASONS = (
    *(OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError, ImportError),
    *(SafetensorError, StrictDataclassError, ArithmeticError, LookupError, AssertionError),
)


def require_safetensors(folder: Path) -> None:
    """Raise unless the folder holds weights that are no pickle.

    Raises
    ------
    ModelError
        It holds pickled weights alone.
    ModelNotFoundError
        It holds none.
    """
    if (folder / WEIGHTS).is_file() or (folder / INDEX).is_file():
        return
    pickled = sorted(path.name for kind in _PICKLES for path in folder.glob(kind))
    if pickled:
        raise ModelError(
            f"{folder} holds its weights as a pickle ({pickled[0]}), which could run code and is "
            f"not read; put the same model's {WEIGHTS} there"
        )
    raise ModelNotFoundError(
        f"{folder} holds no weights; put the model's {WEIGHTS} beside its config.json"
    )


def _held_bytes(folder: Path) -> int:
    """How large a folder's weights are.

    Raises
    ------
    ModelError
        A file of them is missing or damaged, or lies elsewhere.
    """
    index = folder / INDEX
    names = [WEIGHTS] if (folder / WEIGHTS).is_file() else shard_names(index)
    for name in names:
        if not (folder / name).is_file():
            raise ModelError(f"{index} names {name}, which is not there; fetch the model again")
        check_safetensors(folder / name)
    return sum((folder / name).stat().st_size for name in names)


def load_network(
    network_class: Any,  # noqa: ANN401
    config_class: Any,  # noqa: ANN401
    config: dict[str, object],
    folder: Path,
) -> Any:  # noqa: ANN401
    """The network of a folder in fp32, for inference, with every weight from its file.

    Raises
    ------
    ModelError
        Configuration or weights are damaged or do not fit each other.
    """
    require_safetensors(folder)
    check_numbers(config, str(folder))
    try:
        built = config_class.from_dict(dict(config))
        # transformers makes weights that are missing as large as they are asked for
        check_size(lambda: network_class(built), _held_bytes(folder), str(folder))
        with _quietly():
            network, report = network_class.from_pretrained(
                folder,
                config=built,
                use_safetensors=True,
                local_files_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
    except ModelError:
        raise
    except _REASONS as error:
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"{folder} is damaged or incomplete ({reason}); fetch it again") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{folder} is not a checkpoint of this architecture: {len(missing)} weights missing "
            f"({missing[0]}); fetch it again"
        )
    return network.eval().requires_grad_(False)


def load_tokenizer(
    tokenizer_class: Any,  # noqa: ANN401
    folder: Path,
    either: Sequence[Sequence[str]],
) -> Any:  # noqa: ANN401
    """The tokenizer of a folder, which must hold all files of one of the sets in `either`.

    Raises
    ------
    ModelNotFoundError
        Files are missing; without them transformers would make an empty tokenizer.
    ModelError
        They are damaged.
    """
    if not any(all((folder / name).is_file() for name in names) for names in either):
        wanted = ", or ".join(" and ".join(names) for names in either)
        raise ModelNotFoundError(
            f"{folder} holds no tokenizer; put the model's {wanted} there, with its "
            "tokenizer_config.json"
        )
    try:
        return tokenizer_class.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # the tokenizers library raises this very class
        reason = " ".join(str(error).split())[:200]
        raise ModelError(
            f"{folder} holds a damaged tokenizer ({reason}); fetch the model again"
        ) from error


def tokens_of_phrases(
    tokenizer: Any,  # noqa: ANN401
    phrases: Sequence[str],
    max_tokens: int,
    name: str,
) -> Any:  # noqa: ANN401
    """The phrases' tokens, one line each, filled up to what the network reads.

    Raises
    ------
    InputError
        A phrase is longer than that.
    """
    for phrase in phrases:
        count = len(tokenizer(phrase)["input_ids"])
        if count > max_tokens:
            raise InputError(
                f"{name} reads at most {max_tokens} tokens of a phrase, got {count} in "
                f"{phrase!r}; shorten it, or part it with commas"
            )
    return tokenizer(
        list(phrases), padding="max_length", max_length=max_tokens, return_tensors="pt"
    )


def side_px(image_size: int | Sequence[int]) -> int:
    """The side of a network's square input."""
    return int(image_size) if isinstance(image_size, int) else int(image_size[0])


@contextmanager
def _quietly() -> Iterator[None]:
    """A block in which transformers shows no bar and no table; what is missing is raised."""
    verbosity = transformers_logging.get_verbosity()
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if shown:
            transformers_logging.enable_progress_bar()
