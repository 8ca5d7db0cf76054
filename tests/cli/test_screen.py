from __future__ import annotations

import io
import logging

import pytest
from rich.console import Console

from mitosam.cli.options import parse_duration, parse_voxel_size, settings_from
from mitosam.cli.screen import ScreenProgress, readable_bytes, readable_time, show_error, show_logs
from mitosam.errors import SettingsError


def screen(*, is_terminal):
    stream = io.StringIO()
    return Console(file=stream, force_terminal=is_terminal, width=120), stream


def test_a_terminal_shows_a_bar_with_the_time_left():
    console, stream = screen(is_terminal=True)
    for _ in ScreenProgress(console).track(range(3), "encoding", unit="tile"):
        pass
    shown = stream.getvalue()
    assert "encoding" in shown
    assert "3/3" in shown
    assert "tiles" in shown
    assert "left" in shown
    assert "0:00:00" in shown


@pytest.mark.parametrize(
    ("items", "total", "line"),
    [
        (range(3), None, "encoding: 3 tiles done"),
        (iter(range(3)), None, "encoding: tiles done"),
        (iter(range(3)), 3, "encoding: 3 tiles done"),
        ([], None, "encoding: 0 tiles done"),
    ],
)
def test_a_log_file_gets_one_line_a_loop(items, total, line):
    console, stream = screen(is_terminal=False)
    found = list(ScreenProgress(console).track(items, "encoding", total=total, unit="tile"))
    assert len(found) in (0, 3)
    assert stream.getvalue() == f"{line}\n"


def test_a_loop_that_ends_early_is_not_called_done():
    console, stream = screen(is_terminal=False)
    for _ in ScreenProgress(console).track(range(3), "training"):
        break
    assert stream.getvalue() == ""


@pytest.mark.parametrize("is_terminal", [False, True])
def test_names_in_brackets_are_shown_as_they_are(is_terminal):
    console, stream = screen(is_terminal=is_terminal)
    progress = ScreenProgress(console)
    list(progress.track([1], "reading [bold]x[/nothing]"))
    progress.say("paired [1] with [/2]")
    show_error(console, "[red] is not\na setting")
    shown = stream.getvalue()
    assert "reading [bold]x[/nothing]" in shown
    assert "paired [1] with [/2]" in shown
    assert "error: [red] is not a setting" in shown


def test_an_error_is_one_line_however_long():
    console, stream = screen(is_terminal=False)
    show_error(console, "much " * 100)
    assert stream.getvalue().count("\n") == 1


@pytest.mark.parametrize(("verbose", "shown"), [(False, False), (True, True)])
def test_choices_are_said_when_asked_for_and_warnings_always(verbose, shown):
    logger = logging.getLogger("mitosam")
    before = logger.handlers, logger.level, logger.propagate
    console, stream = screen(is_terminal=False)
    try:
        show_logs(console, verbose=verbose)
        logging.getLogger("mitosam.models").info("device [cpu] chosen")
        logging.getLogger("mitosam.models").warning("skipped")
    finally:
        logger.handlers, logger.level, logger.propagate = before
    assert ("device [cpu] chosen" in stream.getvalue()) is shown
    assert "skipped" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (5370, "1 h 30 min"), (7200, "2 h 0 min")],
)
def test_times_read_as_a_clock_would_say_them(seconds, words):
    assert readable_time(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 B"), (999, "999 B"), (20_000, "20 kB"), (1_500_000, "1.5 MB"), (2e12, "2.0 TB")],
)
def test_sizes_read_in_their_unit(count, words):
    assert readable_bytes(count) == words


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(None, float("inf")), ("90s", 90), ("1.5h", 5400), ("2m", 120), ("1h 30min", 5400)],
)
def test_times_are_read(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "30", "-5min", "5 minutes", "1d", "min", "0s"])
def test_other_times_are_refused(text):
    with pytest.raises(SettingsError, match="--budget"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "5", "5,5", "5,5,5,5", "a,b,c", "0,1,1", "-1,1,1", "inf,1,1"])
def test_voxel_sizes_that_are_none_are_refused(text):
    with pytest.raises(SettingsError, match="--voxel-size"):
        parse_voxel_size(text)


def test_options_become_settings(tmp_path):
    (tmp_path / "run.toml").write_text("seed = 4\n[model]\nname = 'there'\n")
    settings = settings_from(
        preset="paper",
        config=tmp_path / "run.toml",
        overrides=["training.epochs=3"],
        model="here",
        split={"train": "1-2", "validation": None, "test": "4"},
    )
    assert (settings.seed, settings.model.name, settings.training.epochs) == (4, "here", 3)
    assert (settings.split.kind, settings.split.train, settings.split.test) == ("given", "1-2", "4")
    assert settings.training.schedule == "constant"
