"""What a browser may send: anything else is refused before it reaches the session."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mitosam.errors import InputError
from mitosam.ui.browser.commands import COMMANDS

MAX_CORNERS = 5000
MAX_WORDS = 200

Pixel = Annotated[float, Field(allow_inf_nan=False)]
ObjectId = Annotated[int, Field(ge=0, lt=2**32)]


class Message(BaseModel):
    """`serial` counts a page's messages, so that it knows which of them an answer is to."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    serial: Annotated[int, Field(ge=0)] = 0


class PointMessage(Message):
    """A click in the section's pixels, on the object or on what it is not."""

    do: Literal["point"]
    x: Pixel
    y: Pixel
    positive: bool = True


class BoxMessage(Message):
    """A dragged box."""

    do: Literal["box"]
    x0: Pixel
    y0: Pixel
    x1: Pixel
    y1: Pixel


class LassoMessage(Message):
    """A line drawn round an object."""

    do: Literal["lasso"]
    corners: Annotated[list[Annotated[list[Pixel], Field(min_length=2, max_length=2)]], Field(
        max_length=MAX_CORNERS)]  # fmt: skip


class SelectMessage(Message):
    """A click that selects; `more` keeps what is selected."""

    do: Literal["select"]
    x: Pixel
    y: Pixel
    more: bool = False


class PickMessage(Message):
    """An object chosen from the list."""

    do: Literal["pick"]
    id: ObjectId
    more: bool = False


class GoMessage(Message):
    """Another section, counted from 0."""

    do: Literal["go"]
    z: int


class WordsMessage(Message):
    """A prompt that was typed in."""

    do: Literal["words"]
    text: Annotated[str, Field(max_length=MAX_WORDS)]


class CommandMessage(Message):
    """A key or a button."""

    do: Literal["run"]
    name: str


AnyMessage = Annotated[
    PointMessage
    | BoxMessage
    | LassoMessage
    | SelectMessage
    | PickMessage
    | GoMessage
    | WordsMessage
    | CommandMessage,
    Field(discriminator="do"),
]
_MESSAGES: TypeAdapter[AnyMessage] = TypeAdapter(AnyMessage)


def read_message(sent: object) -> AnyMessage:
    """A message in its proper form.

    Raises
    ------
    InputError
        It is none.
    """
    try:
        message = _MESSAGES.validate_python(sent)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise InputError(f"the page sent what is no message: {place} {first['msg']}") from error
    if isinstance(message, CommandMessage) and message.name not in COMMANDS:
        raise InputError("the page sent a command that does not exist")
    return message
