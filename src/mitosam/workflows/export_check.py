"""Whether a BioImage.IO package does what it says: read anew, and run without mitosam's network.

bioimageio.core would do this too. Each of its releases asks for one version of bioimageio.spec, and
that of core 0.11, which is 0.5.12.0, fails with pydantic 2.14.
"""

from __future__ import annotations

import tempfile
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Shaped

from mitosam.errors import ModelError
from mitosam.models.export_onnx import PROVIDERS, require_close

if TYPE_CHECKING:
    from bioimageio.spec.model import v0_5

RDF = "rdf.yaml"


def check_package(path: Path) -> None:
    """Raise ModelError unless the package is valid and onnxruntime gets its test outputs."""
    from bioimageio.spec.utils import load_array

    with tempfile.TemporaryDirectory(prefix=".check.", dir=path.parent) as folder, quiet():
        _unpack(path, Path(folder))
        description = load_package(Path(folder))
        inputs = {str(tensor.id): load_array(_test_of(tensor)) for tensor in description.inputs}
        found = run_package(description, Path(folder), inputs)
        for tensor in description.outputs:
            expected = torch.from_numpy(load_array(_test_of(tensor)))
            require_close(f"output {tensor.id} of the package", found[str(tensor.id)], expected)


def _unpack(path: Path, folder: Path) -> None:
    """Write a package's files into a folder; ModelError if one would lie elsewhere."""
    with zipfile.ZipFile(path) as package:
        for name in package.namelist():
            if Path(name).name != name:
                raise _invalid(f"it holds {name}, which is no plain name")
            (folder / name).write_bytes(package.read(name))


def load_package(folder: Path) -> v0_5.ModelDescr:
    """The description in an unpacked package; ModelError if it is not valid."""
    from bioimageio.spec import InvalidDescr, load_model_description
    from bioimageio.spec.model import v0_5

    try:
        found = load_model_description(folder / RDF, perform_io_checks=True)
    except ValueError as error:
        raise _invalid(str(error)) from error
    if isinstance(found, InvalidDescr) or not isinstance(found, v0_5.ModelDescr):
        raise _invalid(f"it is read as {type(found).__name__}")
    return found


def _invalid(reason: str) -> ModelError:
    first = " ".join(reason.split())[:300]
    return ModelError(
        f"bioimageio.spec does not accept the package, so nothing was written ({first}); please "
        "report it with the version of bioimageio.spec"
    )


def _test_of(tensor: v0_5.InputTensorDescr | v0_5.OutputTensorDescr) -> v0_5.FileDescr:
    assert tensor.test_tensor is not None, "a package of ours has a test of every tensor"
    return tensor.test_tensor


def run_package(
    description: v0_5.ModelDescr, folder: Path, inputs: dict[str, Shaped[np.ndarray, ...]]
) -> dict[str, Shaped[np.ndarray, ...]]:
    """The outputs by name, from inputs as a user has them, by onnxruntime and the description."""
    import onnxruntime

    weights = description.weights.onnx
    assert weights is not None, "a package of ours holds ONNX"
    session = onnxruntime.InferenceSession(
        str(folder / Path(str(weights.source)).name), providers=PROVIDERS
    )
    prepared = {
        str(tensor.id): _preprocessed(inputs[str(tensor.id)], tensor.preprocessing)
        for tensor in description.inputs
    }
    names = [str(tensor.id) for tensor in description.outputs]
    return dict(zip(names, session.run(names, prepared), strict=True))


def _preprocessed(values: Shaped[np.ndarray, ...], steps: Sequence[Any]) -> Shaped[np.ndarray, ...]:
    for step in steps:
        if step.id == "ensure_dtype":
            values = values.astype(step.kwargs.dtype)
        elif step.id == "scale_linear":
            values = values * np.float32(step.kwargs.gain) + np.float32(step.kwargs.offset)
        else:
            assert step.id == "clip", "our packages preprocess in no other way"
            values = values.clip(step.kwargs.min, step.kwargs.max)
    return values


@contextmanager
def quiet() -> Iterator[None]:
    """A block in which bioimageio writes nothing on the screen: errors are raised as well."""
    from loguru import logger

    logger.disable("bioimageio")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.enable("bioimageio")
