"""A page as a browser would take it apart."""

from __future__ import annotations

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Page(HTMLParser):
    """A page's tags, addresses and ids; an unclosed or crossed tag is an error."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.scripts = 0
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        if tag not in VOID:
            self.open.append(tag)
        self._note(tag, attributes)

    def handle_startendtag(self, tag, attributes):
        self._note(tag, attributes)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def _note(self, tag, attributes) -> None:
        self.tags.append(tag)
        self.scripts += tag == "script" or any(name.startswith("on") for name, _ in attributes)
        self.addresses += [v for name, v in attributes if name in ("href", "src", "xlink:href")]
        self.ids += [value for name, value in attributes if name == "id"]


def assert_needs_nothing_else(html: str, *, scripts: int = 0) -> Page:
    """The page is whole, holds all its pictures, and has no script but its own."""
    page = Page(html)
    assert all(a.startswith(("#", "data:image/")) for a in page.addresses)
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.ids)
    assert len(set(page.ids)) == len(page.ids)
    assert page.scripts == scripts
    assert not re.search(r"https?:|@import|url\((?!#)", html)
    assert ">nan<" not in html
    assert ">None<" not in html
    return page
