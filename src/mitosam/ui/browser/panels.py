"""The panels beside the picture: the outline, the selection, the objects, and what goes on."""

from __future__ import annotations

from collections.abc import Callable

from nicegui import ui
from nicegui.element import Element

from mitosam.ui.browser.pictures import hex_palette
from mitosam.ui.browser.scene import Scene
from mitosam.ui.browser.viewer import ObjectList, Sent
from mitosam.ui.browser.widgets import Button, Run, box, command_button, say, word
from mitosam.ui.session.snapshot import Candidate, JobKind, JobState, ObjectInfo

NUM_CHOICES = 4
HINTS = {
    "point": "Click on an object. Shift-click or right-click marks what is not part of it.",
    "box": "Drag a box round an object.",
    "lasso": "Draw round an object.",
    "select": "Click on an object to select it, Shift-click to select several.",
    "split": "Click into each part of the selected object, then press Enter.",
}


class OutlinePanel:
    """The object being outlined: its candidates, and what to do with the chosen one."""

    def __init__(self, run: Run) -> None:
        with box("m-panel m-outline"):
            with box("m-title"):
                word("Outline")
                self._size = word("", "span", "m-soft")
            self._hint = word("", "div", "m-hint")
            with box("m-choices") as self._draft:
                with box("m-row"):
                    self._choices = [self._choice(run, n) for n in range(NUM_CHOICES)]
                with box("m-row"):
                    command_button("accept", run, text="Keep", icon="check", kind="main")
                    command_button("clear", run, text="Drop", icon="close")
                with box("m-row"):
                    self._into = [
                        command_button("add", run, text="Add to selected"),
                        command_button("cut", run, text="Cut from it"),
                    ]

    def _choice(self, run: Run, number: int) -> tuple[Button, ui.label]:
        name = f"choose-{number + 1}"
        button = command_button(name, run, text=str(number + 1), key="", kind="m-choice")
        with button:
            return button, word("", "span", "m-share")

    def show(self, scene: Scene) -> None:
        """Show the candidates, or how to get some."""
        draft = scene.snapshot.draft
        self._draft.set_visibility(bool(draft.candidates))
        self._hint.set_visibility(not draft.candidates)
        prompted = draft.points or draft.box_xyxy or draft.lasso_xy
        say(self._hint, self._waiting(scene) if prompted else HINTS[scene.tool])
        for number, (button, share) in enumerate(self._choices):
            one = draft.candidates[number] if number < len(draft.candidates) else None
            button.set_visibility(one is not None)
            if one is not None:
                button.show(pressed=number == draft.chosen)
                say(share, _share(one))
        chosen = None if draft.chosen is None else draft.candidates[draft.chosen]
        say(self._size, f"{chosen.area_px:,} px" if chosen else "")
        for button in self._into:
            button.show(enabled=scene.snapshot.selected is not None)

    def _waiting(self, scene: Scene) -> str:
        if not scene.ready:
            return "This section is being prepared; the outline comes when it is ready."
        return "Nothing found there; add a click on the object, or Esc to start again."


def _share(candidate: Candidate) -> str:
    return "drawn" if candidate.score is None else f"{min(max(candidate.score, 0), 1):.0%}"


class SelectionPanel:
    """The selected object, and what can be done to it."""

    def __init__(self, run: Run, *, on_count: Callable[[int], object]) -> None:
        with box("m-panel m-selection"):
            with box("m-title"):
                self._title = word("Selected")
                self._facts = word("", "span", "m-soft")
            self._hint = word(
                "Nothing is selected. Click into the list, or use the Select tool (V).",
                "div",
                "m-hint",
            )
            with box("m-actions") as self._actions:
                with box("m-row"):
                    self._judge = [
                        command_button("accept-proposed", run, text="Accept", kind="main"),
                        command_button("reject-proposed", run, text="Reject"),
                    ]
                    self._erase = command_button("erase", run, text="Erase")
                    self._merge = command_button("merge", run, text="Merge")
                    self._split = command_button("split", run, text="Split")
                self._carry_row(run, on_count)

    def _carry_row(self, run: Run, on_count: Callable[[int], object]) -> None:
        with box("m-row"):
            command_button("carry-previous", run, text="Back", icon="west")
            count = Element("input").classes("m-field m-number")
            for name, value in (
                *(("type", "number"), ("min", 1), ("max", 99), ("^value", 1)),
                *(("aria-label", "Sections to carry it over"), ("title", "Sections to carry over")),
            ):
                count.props[name] = value
            count.on(
                "input",
                lambda event: on_count(int(event.args)),
                js_handler="(event) => emit(Math.round(Number(event.target.value)) || 1)",
            )
            command_button("carry-next", run, text="Carry on", icon="east")

    def show(self, scene: Scene) -> None:
        """Show the selection, or how to make one."""
        chosen = [one for one in scene.snapshot.objects if one.id in scene.selected]
        self._hint.set_visibility(not scene.selected)
        self._actions.set_visibility(bool(scene.selected))
        say(self._title, _selection_title(scene.selected))
        say(self._facts, _selection_facts(chosen) if scene.selected else "")
        proposed = any(one.state == "proposed" for one in chosen)
        for button in self._judge:
            button.set_visibility(proposed)
        for button in (self._erase, self._split):
            button.set_visibility(not proposed)
        self._erase.show(enabled=bool(chosen))
        self._split.show(enabled=len(chosen) == 1, pressed=scene.tool == "split")
        self._merge.set_visibility(not proposed or len(scene.selected) > 1)
        self._merge.show(enabled=len(scene.selected) > 1)


def _selection_title(selected: tuple[int, ...]) -> str:
    if not selected:
        return "Selected"
    return f"Object {selected[0]}" if len(selected) == 1 else f"{len(selected)} objects"


def _selection_facts(chosen: list[ObjectInfo]) -> str:
    if not chosen:
        return "not on this section"
    area = f"{sum(one.area_px for one in chosen):,} px"
    (first, *others) = chosen
    if others or first.state == "accepted":
        return area
    trust = "" if first.confidence is None else f", {first.confidence:.0%} sure"
    return f"{area}, proposed{trust}"


class ObjectsPanel:
    """The objects of the section: proposed ones first, the uncertain before the certain."""

    def __init__(self, run: Run, *, on_pick: Sent) -> None:
        self._colours = hex_palette()
        with box("m-panel last"):
            with box("m-title"):
                self._title = word("Objects")
                self._proposed = word("", "span", "m-soft")
                box("m-grow")
                self._next = command_button("next-uncertain", run, text="Review", kind="plain")
            self._list = ObjectList(on_pick=on_pick)

    def show(self, scene: Scene) -> None:
        """List what is on the section."""
        objects = scene.snapshot.objects
        num_proposed = sum(one.state == "proposed" for one in objects)
        say(self._title, f"{len(objects)} object{'' if len(objects) == 1 else 's'}")
        say(self._proposed, f"{num_proposed} proposed" if num_proposed else "on this section")
        rows = [
            {
                "id": one.id,
                "area": f"{one.area_px:,} px",
                "proposed": one.state == "proposed",
                "confidence": one.confidence,
                "colour": self._colours[one.id % len(self._colours)],
            }
            for one in objects
        ]
        self._list.show(rows, scene.selected, "Nothing here yet.")


class JobsPanel:
    """What goes on in the background, with a button that stops it, and what came of it."""

    def __init__(
        self, *, on_stop: Callable[[JobKind], object], on_compare: Callable[[], object]
    ) -> None:
        self._panel = box("m-panel jobs")
        self._on_stop = on_stop
        self._on_compare = on_compare
        self._shown: object = None

    def show(self, scene: Scene) -> None:
        """Show the jobs, drawn anew only when one of them changed."""
        comparison = scene.snapshot.comparison
        jobs = [job for job in scene.snapshot.jobs if job.running or job.error]
        shown = jobs, None if comparison is None else comparison.new_model
        if shown == self._shown:
            return
        self._shown = shown
        self._panel.clear()
        with self._panel:
            if comparison is not None:
                with box("m-row"):
                    word("A newly taught model is ready.", "span", "m-grow")
                    Button("Compare", title="Old and new side by side", on_click=self._on_compare,
                           kind="main")  # fmt: skip
            for job in jobs:
                self._draw(job)

    def _draw(self, job: JobState) -> None:
        with box("m-job" if job.error is None else "m-job bad").props("role=status"):
            if job.error is not None:
                word(f"{job.title}: {job.error}", "div")
                return
            with box("m-row"):
                word(job.title, "span", "m-grow")
                word(_time_left(job), "span", "m-soft")
                Button("Stop", title=f"Stop {job.title}", on_click=lambda: self._on_stop(job.kind),
                       kind="plain")  # fmt: skip
            bar = Element("progress")
            bar.props["aria-label"] = job.title
            if job.total:
                bar.props["max"], bar.props["value"] = job.total, job.done


def _time_left(job: JobState) -> str:
    if job.eta_s is None:
        return f"{job.done} of {job.total}" if job.total else ""
    if job.eta_s < 90:
        return f"{job.eta_s:.0f} s left"
    return f"{job.eta_s / 60:.0f} min left"
