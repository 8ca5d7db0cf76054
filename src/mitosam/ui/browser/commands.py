"""Everything that a key or a button does, in one list: the keys, the help and the tooltips."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a user can ask for; `keys` are the browser's names, with Ctrl+ and Shift+ before them.

    The Command key of a Mac counts as Ctrl.
    """

    name: str
    title: str
    group: str
    keys: tuple[str, ...] = ()
    shown: str = ""

    @property
    def key_text(self) -> str:
        """The keys as a user calls them."""
        return self.shown or " or ".join(self.keys)


def _group(group: str, *rows: tuple[str, str, tuple[str, ...], str]) -> list[Command]:
    return [
        Command(name=name, title=title, group=group, keys=keys, shown=shown)
        for name, title, keys, shown in rows
    ]


_LIST = [
    *_group(
        "Tools",
        ("tool-point", "Click: the object is here; Shift or right: it is not", ("c",), "C"),
        ("tool-box", "Box: drag it round the object", ("b",), "B"),
        ("tool-lasso", "Lasso: draw round the object", ("l",), "L"),
        ("tool-select", "Select objects; with Shift several", ("v",), "V"),
    ),
    *_group(
        "Outline",
        ("choose-1", "Choose among the candidates", ("1",), "1 to 4"),
        ("choose-2", "Choose the second candidate", ("2",), ""),
        ("choose-3", "Choose the third candidate", ("3",), ""),
        ("choose-4", "Choose the fourth candidate", ("4",), ""),
        ("accept", "Keep the outline as a new object", ("Enter",), "Enter"),
        ("add", "Add the outline to the selected object", ("a",), "A"),
        ("cut", "Cut the outline from the selected object", ("s",), "S"),
        ("clear", "Drop the outline, or the selection", ("Escape",), "Esc"),
    ),
    *_group(
        "Selected object",
        ("erase", "Erase it on this section; reject what was proposed", ("Delete", "Backspace"),
         "Del"),
        ("erase-all", "Erase it on all sections", ("Shift+Delete", "Shift+Backspace"),
         "Shift+Del"),
        ("merge", "Merge the selected objects", ("m",), "M"),
        ("split", "Split it: click into each part, then Enter", ("x",), "X"),
        ("carry-next", "Carry it to the next section", ("n",), "N"),
        ("carry-previous", "Carry it to the previous section", ("p",), "P"),
    ),
    *_group(
        "Review",
        ("next-uncertain", "Go to the next uncertain object", ("u",), "U"),
        ("accept-proposed", "Accept it, and go to the next", ("y",), "Y"),
        ("reject-proposed", "Reject it, and go to the next", ("r",), "R"),
        ("finish", "The section is finished, or not yet", ("d",), "D"),
    ),
    *_group(
        "Sections",
        ("next", "Next section", (".", "ArrowRight", "PageDown"), ". or →"),
        ("previous", "Previous section", (",", "ArrowLeft", "PageUp"), ", or ←"),
        ("next-10", "Ten sections on", ("Shift+ArrowRight", "Shift+PageDown"), "Shift+→"),
        ("previous-10", "Ten sections back", ("Shift+ArrowLeft", "Shift+PageUp"), "Shift+←"),
        ("first", "First section", ("Home",), "Home"),
        ("last", "Last section", ("End",), "End"),
        ("go", "Type a section's number", ("g",), "G"),
    ),
    *_group(
        "Picture",
        ("fit", "Fit the section into the window", ("f",), "F"),
        ("zoom-in", "Zoom in (or the wheel)", ("+", "="), "+"),
        ("zoom-out", "Zoom out (or the wheel)", ("-",), "-"),
        ("labels", "Show or hide the objects", ("h",), "H"),
    ),
    *_group(
        "Everything else",
        ("undo", "Take back, without limit", ("Ctrl+z",), "Ctrl+Z"),
        ("redo", "Do again", ("Ctrl+Shift+z", "Ctrl+y"), "Ctrl+Shift+Z"),
        ("words", "Type what to look for", ("/",), "/"),
        ("segment", "Segment sections", ("Shift+s",), "Shift+S"),
        ("teach", "Teach the model", ("Shift+t",), "Shift+T"),
        ("export", "Export", ("Shift+e",), "Shift+E"),
        ("theme", "Dark or light", ("Shift+d",), "Shift+D"),
        ("help", "This sheet", ("?",), "?"),
    ),
]  # fmt: skip
COMMANDS = {command.name: command for command in _LIST}

IN_THE_BROWSER = ("fit", "zoom-in", "zoom-out", "labels", "words", "go", "theme")
"""What the browser does by itself, at once."""


def key_map() -> dict[str, str]:
    """The command of each key."""
    return {key: command.name for command in _LIST for key in command.keys}


def groups() -> list[tuple[str, list[Command]]]:
    """The commands by group, for the help sheet; the four candidates are one line."""
    hidden = ("choose-2", "choose-3", "choose-4")
    shown = [command for command in _LIST if command.name not in hidden]
    return [(name, list(rows)) for name, rows in groupby(shown, key=lambda one: one.group)]


def label(name: str) -> str:
    """A command's title with its key, for a tooltip."""
    command = COMMANDS[name]
    return f"{command.title} ({command.key_text})"
