"""Templates made into pages: one HTML text each that needs no other file."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

from mitosam.reporting import words

if TYPE_CHECKING:
    from jinja2 import Environment


def render_page(template: str, **values: object) -> str:
    """A template with the style sheet and these values; texts are escaped unless `Markup`."""
    from markupsafe import Markup

    page = _environment().get_template(template)
    return page.render(
        css=Markup(_template_text("report.css")),
        turntable_script=Markup(_template_text("turntable.js")),
        **values,
    )


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("mitosam.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=words.number,
        signed=words.signed,
        interval=words.interval,
        percent=words.percent,
        three_figures=words.three_figures,
        plain="{:g}".format,
    )
    environment.globals.update(
        method_titles=words.METHOD_TITLES,
        protocol_titles=words.PROTOCOL_TITLES,
        noun_of=words.noun_of,
        plural=words.plural,
    )
    return environment


def _template_text(name: str) -> str:
    return resources.files("mitosam.reporting").joinpath("templates", name).read_text("utf-8")
