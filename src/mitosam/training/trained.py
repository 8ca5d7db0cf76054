"""The parameters that a training changes, as one module."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn


class TrainedParameters(nn.Module):
    """Some of a model's parameters, which stay where they are in it.

    Its state is those alone, so that averages and checkpoints hold nothing that is frozen.
    """

    def __init__(self, named: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        for name, parameter in named.items():
            parameter.requires_grad_(True)
            self.register_parameter(_escaped(name), parameter)

    def named(self) -> dict[str, Tensor]:
        """The parameters by their names in the model."""
        return {name.replace("/", "."): one.detach() for name, one in self.named_parameters()}

    @contextmanager
    def lent(self, other: nn.Module) -> Iterator[None]:
        """Have the model compute with `other`'s values of the same parameters for a while."""
        pairs = list(zip(self.parameters(), other.parameters(), strict=True))
        own = [mine.data for mine, _ in pairs]
        try:
            for mine, theirs in pairs:
                mine.data = theirs.data
            yield
        finally:
            for (mine, _), values in zip(pairs, own, strict=True):
                mine.data = values


def _escaped(name: str) -> str:
    return name.replace(".", "/")  # a module's parameters have no dots in their names
