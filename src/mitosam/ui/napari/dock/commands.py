"""Everything that a key or a button does, in one list: the keys, the help and the tooltips.

The keys are those of the browser page, as far as napari leaves them free.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What a user can ask for: the controller's method `name`.

    `key` is in napari's spelling; it is empty where there is a button only, and `button` is where
    there is a key only.
    """

    name: str
    title: str
    button: str
    key: str

    @property
    def tooltip(self) -> str:
        """The title and the key."""
        return f"{self.title} ({self.key})" if self.key else self.title


def _commands(*rows: tuple[str, str, str, str]) -> dict[str, Command]:
    return {
        name: Command(name=name, key=key, button=button, title=title)
        for name, key, button, title in rows
    }


COMMANDS = _commands(
    ("tool_point", "C", "Point", "Click: the object is here; with Shift: it is not"),
    ("tool_box", "B", "Box", "Drag a box round the object"),
    ("tool_lasso", "L", "Lasso", "Draw round the object"),
    ("tool_select", "V", "Select", "Click on objects to select them; with Shift several"),
    ("choose_1", "1", "", "Choose the first candidate"),
    ("choose_2", "2", "", "Choose the second candidate"),
    ("choose_3", "3", "", "Choose the third candidate"),
    ("choose_4", "4", "", "Choose the fourth candidate"),
    ("keep", "Enter", "New object", "Keep the outline as a new object"),
    ("add", "A", "Add", "Add the outline to the selected object"),
    ("cut", "S", "Cut", "Cut the outline from the selected object"),
    ("clear", "Escape", "Clear", "Drop the outline, or the selection"),
    ("undo", "Control-Z", "Undo", "Take back, without limit"),
    ("redo", "Control-Shift-Z", "Redo", "Do again"),
    ("accept", "Y", "Accept", "Accept what was proposed, and go to the next"),
    ("reject", "R", "Reject", "Reject what was proposed, and go to the next"),
    ("next_uncertain", "U", "Next", "Go to the next uncertain object"),
    ("erase", "Delete", "Erase", "Erase the selected objects on this section"),
    ("erase_everywhere", "Shift-Delete", "Erase all", "Erase them on all sections"),
    ("merge", "M", "Merge", "Make the selected objects one"),
    ("split", "X", "Split", "Split the selected object: first put a point into each part"),
    ("carry_back", "P", "◀ Carry", "Carry the selected object to the previous section"),
    ("carry_on", "N", "Carry ▶", "Carry the selected object to the next section"),
    ("finish", "D", "Finished", "The section is finished, or not yet"),
    ("segment", "Shift-S", "Segment this section", "Propose all objects of this section"),
    ("teach", "Shift-T", "Teach", "Teach the model with the finished sections"),
    ("switch_model", "", "Use the new model", "Go on with the newly taught model"),
    ("keep_model", "", "Keep the old one", "Go on with the model in use"),
)


def help_text() -> str:
    """The keys, one a line, as HTML."""
    rows = "".join(
        f"<tr><td><b>{command.key}</b>&nbsp;&nbsp;</td><td>{command.title}</td></tr>"
        for command in COMMANDS.values()
        if command.key
    )
    return f"<p>While one of the session's layers is selected:</p><table>{rows}</table>"
