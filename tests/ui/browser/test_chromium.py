"""The real page in a real Chromium.

Pictures of it go to the folder that MITOSAM_SCREENSHOTS names, if it does.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import tifffile

from tests.tiny_runs import write_model, write_phantom
from tests.tiny_segmenter import write_tuned
from tests.ui.browser.chromium import FLAGS, SIZE, Server, User, find_chromium

CHROMIUM = find_chromium()
if CHROMIUM is None:
    pytest.skip("needs Chromium: install Debian's package chromium", allow_module_level=True)
pytest.importorskip("playwright", reason="needs playwright, which is in the dev group")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=list(FLAGS))
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("discs"))
    yield server
    server.end()


@pytest.fixture
def context(browser):
    context = browser.new_context(viewport=SIZE, accept_downloads=True)
    yield context
    context.close()


@pytest.fixture
def user(context, server):
    """A user on an empty section of the module's server."""
    user = User(context.new_page(), server.address)
    yield user
    user.press("Escape", "Escape", "Home")
    user.is_answered()
    while user.page.get_by_role("button", name="Take back").is_enabled():
        user.press("Control+z")
        user.is_answered()
    assert user.errors == []
    assert {url.split("/")[2] for url in user.requests if url[:4] == "http"} == {
        server.origin.split("/")[2]
    }


@pytest.fixture
def pictures(tmp_path):
    """The folder for pictures of the page."""
    folder = Path(os.environ.get("MITOSAM_SCREENSHOTS", tmp_path / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def picture(user, pictures):
    """Take a picture of the user's page."""
    return lambda name: user.page.screenshot(path=pictures / f"{name}.png")


def test_a_click_is_outlined_corrected_kept_and_taken_back(user, picture):
    user.click(40, 30)
    user.sees_candidates(3)
    large = user.page.locator(".m-outline .m-title").inner_text()
    user.press("2")
    user.wait(f"document.querySelector('.m-outline .m-title').innerText !== {json.dumps(large)}")
    user.click(60, 30, button="right")
    user.is_answered()
    picture("outline")
    user.press("Enter")
    user.has_objects(1)
    user.sees_candidates(0)
    picture("kept")
    user.press("Control+z")
    user.has_objects(0)
    user.press("Control+Shift+z")
    user.has_objects(1)


def test_boxes_and_lassos_outline_too(user, picture):
    user.press("b")
    user.wait("document.querySelector('.m-tool-box')")
    user.drag((180, 60), (220, 100))
    user.sees_candidates(3)
    picture("box")
    user.press("Enter")
    user.has_objects(1)
    user.press("l")
    user.wait("document.querySelector('.m-tool-lasso')")
    user.drag((105, 45), (135, 45), (135, 75), (105, 75))
    user.sees_candidates(4)
    user.reads("drawn")
    picture("lasso")
    user.press("Enter")
    user.has_objects(2)


def test_a_word_proposes_and_the_uncertain_come_first(user, picture):
    user.press("/")
    user.page.keyboard.type("mitochondria")
    user.press("Enter")
    user.has_objects(2)
    assert "60% sure" in user.page.locator(".m-objects li").first.inner_text()
    user.press("u")
    user.reads("proposed, 60% sure")
    picture("review")
    user.press("r")
    user.has_objects(1)
    user.press("y")
    user.reads("Nothing is proposed on any section")
    assert user.page.locator(".m-objects .proposed").count() == 0


def test_a_word_that_is_not_understood_says_so(user):
    user.page.get_by_label("What to look for").fill("golgi")
    user.press("Enter")
    user.reads("'golgi' is not understood; mitochondria is")


def test_sections_are_reached_by_key_number_and_slider_and_finished(user, picture):
    user.press(".")
    user.on_section(2)
    user.press("g")
    user.page.keyboard.type("4")
    user.press("Enter")
    user.on_section(4)
    user.page.get_by_role("slider", name="Section").fill("3")
    user.on_section(3)
    user.press("d")
    finished = "document.querySelector('.m-bar .done').ariaPressed === 'true'"
    user.wait(finished)
    picture("finished")
    user.press("g")
    user.page.keyboard.type("99")
    user.press("Enter")
    user.reads("sections must lie in 1 to 4")


def test_objects_are_merged_split_carried_and_erased(user, picture):
    user.outline(40, 60)
    user.outline(80, 60)
    user.press("v")
    user.click(40, 60)
    user.has_selected("Object ")
    user.page.keyboard.down("Shift")
    user.click(80, 60)
    user.page.keyboard.up("Shift")
    user.has_selected("2 objects")
    user.press("m")
    user.has_objects(1)
    user.press("x")
    user.wait("document.querySelector('.m-tool-split')")
    user.click(40, 60)
    user.click(80, 60)
    picture("split")
    user.press("Enter")
    user.has_objects(2)
    user.press("n")
    user.on_section(2)
    user.has_objects(1)
    user.press("Delete")
    user.has_objects(0)


def test_a_click_right_after_the_tools_key_is_that_tools(user):
    user.outline(40, 60)
    user.press("v")
    user.click(200, 20)  # empty, where the tool for points would outline something
    user.press("v")
    user.click(40, 60)
    user.has_selected("Object ")
    user.sees_candidates(0)


def test_segmenting_goes_on_behind_and_proposes(user):
    user.press("Shift+S")
    user.page.get_by_role("button", name="All").click()
    user.page.get_by_role("dialog").get_by_role("button", name="Segment").click()
    user.has_objects(2)
    user.sees_no_dialog()
    user.press("End")
    user.on_section(4)
    user.has_objects(2)


def test_what_cannot_be_done_is_said_in_the_packages_words(user):
    user.press("Enter")
    user.reads("there is nothing to accept; point at an object first")
    user.press("m")
    user.reads("select an object first")


def test_the_picture_moves_zooms_and_hides_its_objects(user, picture):
    user.outline(40, 30)
    bar = user.page.locator(".m-scale")
    before = bar.inner_text(), bar.locator("span").bounding_box()["width"]
    user.page.mouse.move(*user.at(40, 30))
    user.page.mouse.wheel(0, -600)
    user.wait("document.querySelector('.m-scale').innerText.length > 0")
    user.page.wait_for_timeout(100)
    assert (bar.inner_text(), bar.locator("span").bounding_box()["width"]) != before
    assert user.page.locator(".m-place").inner_text().startswith("x 39")
    picture("zoomed")
    user.press("f", "h")
    user.page.get_by_role("button", name="How the picture looks").click()
    user.page.get_by_label("Contrast").fill("200")
    picture("contrast")
    assert "contrast(200%)" in user.page.locator(".m-viewer canvas").first.get_attribute("style")


def test_two_tabs_share_what_is_kept_and_nothing_else(user, context, server):
    other = User(context.new_page(), server.address)
    other.click(120, 60)
    other.sees_candidates(3)
    user.page.bring_to_front()
    user.outline(40, 30)
    other.has_objects(1)
    other.sees_candidates(3)
    other.page.bring_to_front()
    other.press("Enter")
    other.has_objects(2)
    user.has_objects(2)
    assert user.areas() == other.areas()
    other.page.close()


def test_nothing_is_lost_when_the_server_is_killed(browser, tmp_path):
    server = Server(tmp_path)
    page = browser.new_page(viewport=SIZE)
    user = User(page, server.address)
    user.outline(40, 30)
    user.press(".")
    user.on_section(2)
    user.outline(200, 80)
    areas = user.areas()
    assert server.end(signal.SIGKILL) == -signal.SIGKILL
    server = Server(tmp_path)
    page.goto(server.address)
    user.has_objects(1)
    user.press("End", ",", ",")
    user.on_section(2)
    user.has_objects(1)
    assert user.areas() == areas
    user.press("Control+z", "Control+z")
    user.has_objects(0)
    page.close()
    assert server.end() == 0


def test_teaching_shows_old_and_new_and_switches_when_told(browser, tmp_path, pictures):
    write_phantom(tmp_path, shape_zyx=(3, 64, 80))
    write_tuned(tmp_path / "model.safetensors", write_model(tmp_path / "tiny"))
    server = Server(tmp_path, "teaching_server")
    page = browser.new_page(viewport=SIZE)
    user = User(page, server.address)
    user.reads("model.safetensors")
    user.press("d", ".", "d", "Shift+T")
    user.reads("learns from the 2 finished sections")
    page.get_by_role("dialog").get_by_role("button", name="Teach").click()
    user.reads("teaching with 2 sections")
    page.get_by_role("button", name="Compare").click()
    user.reads("Section 3, which neither of them has learned from.")
    page.wait_for_timeout(400)
    page.screenshot(path=pictures / "compare.png")
    assert page.locator(".m-sides img").count() == 2
    page.get_by_role("button", name="Use the new").click()
    user.reads("model run")
    assert user.errors == []
    page.close()
    server.end()


def test_labels_are_exported_and_taken_away(user, picture):
    user.outline(40, 30)
    user.press("Shift+E")
    user.page.get_by_role("dialog").get_by_role("button", name="Export").click()
    with user.page.expect_download() as download:
        user.page.get_by_role("link", name="Download").click()
    picture("export")
    labels = tifffile.imread(download.value.path())
    assert labels.shape == (4, 120, 300)
    assert (labels > 0).sum() == int(user.areas()[0].split()[0])
    user.press("Escape")
    user.sees_no_dialog()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_everything_has_its_place_and_a_name(user, picture, theme):
    user.outline(40, 30)
    user.click(200, 80)
    user.sees_candidates(3)
    if theme == "light":
        user.press("Shift+D")
        user.page.reload()  # the choice is remembered
        user.wait("document.body.classList.contains('body--light')")
        user.has_objects(1)
    picture(theme)
    assert user.page.evaluate(OVERFLOWS) == []
    assert user.page.evaluate(NAMELESS) == []
    user.press("?")
    user.reads("Keep the outline as a new object")
    user.page.wait_for_timeout(400)
    picture(f"help-{theme}")
    assert user.page.evaluate(OVERFLOWS) == []
    user.press("Escape")
    user.sees_no_dialog()


OVERFLOWS = """() => {
  const shown = (element) => element.checkVisibility() && !element.closest('.m-objects');
  const found = [...document.querySelectorAll('.m-page *, .m-card *')].filter(shown);
  const outside = (element) => {
    const box = element.getBoundingClientRect();
    return box.right > innerWidth + 1 || box.bottom > innerHeight + 1 || box.left < -1;
  };
  const cut = (element) => element.scrollWidth > element.clientWidth + 1
    && ['BUTTON', 'DIV', 'SECTION'].includes(element.tagName) && element.clientWidth > 0;
  const page = document.scrollingElement;
  const scrolls = page.scrollHeight > innerHeight || page.scrollWidth > innerWidth;
  return [...(scrolls ? ['page'] : []), ...found.filter((one) => outside(one) || cut(one))
    .map((one) => one.outerHTML.slice(0, 120))];
}"""
NAMELESS = """() => [...document.querySelectorAll('button, input, select, a, [role]')]
  .filter((one) => !(one.ariaLabel || one.innerText?.trim() || one.closest('label')
    || one.getAttribute('role') === 'status'))
  .map((one) => one.outerHTML.slice(0, 120))"""


def test_broken_and_oversized_messages_are_refused_and_the_page_goes_on(user, server):
    user.page.evaluate(GARBAGE)
    user.reads("the page sent")
    user.outline(40, 30)
    log = server.log.read_text()
    assert "refused a message" in log
    code = user.page.evaluate(OVERSIZED)
    assert code in (1006, 1009)
    user.press("Control+z")
    user.has_objects(0)


GARBAGE = """() => {
  const viewer = Object.entries(mounted_app.elements).find(([, one]) => /viewer/.test(one.tag));
  const listener_id = viewer[1].events.find((one) => one.type === 'act').listener_id;
  const event = { id: Number(viewer[0]), client_id: window.clientId, listener_id };
  const emit = (args) => window.socket.emit('event', { ...event, args });
  emit(['{"do": "point", "x": "../../etc/passwd", "y": 1}']);
  emit(['[1, 2, 3]']);
  window.socket.emit('event', { client_id: window.clientId });
  window.socket.emit('event', 'nonsense');
  window.socket.emit('no such thing', {});
  window.socket.io.engine.transport.ws.send('42{broken');
}"""
OVERSIZED = """() => new Promise((resolve) => {
  const socket = new WebSocket(
    `ws://${location.host}/_nicegui_ws/socket.io/?EIO=4&transport=websocket`);
  socket.onopen = () => socket.send('x'.repeat(3_000_000));
  socket.onclose = (event) => resolve(event.code);
})"""


def test_a_page_without_the_token_is_one_plain_line(context, server):
    page = context.new_page()
    answer = page.goto(server.origin)
    assert answer.status == 403
    assert page.inner_text("body").strip() == "mitosam: open the address that mitosam serve printed"
    page.close()
