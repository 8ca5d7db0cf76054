"""Write docs/settings.md from the settings classes and docs/cli.md from the command line's help.

make docs

What stands in the two pages is the docstrings' own text, so that a setting is described once.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

ROOT = Path(__file__).parents[1]
Schema = dict[str, Any]  # JSON Schema, as pydantic writes it

INTRODUCTION = """\
# Settings

<!-- Written by `make docs` from the settings classes; do not edit. -->

What a run's TOML file may hold. Everything has a default, so a file holds only what differs; an
unknown name or a value out of range is refused before anything starts. The settings that a run
really used, defaults included, are saved in its folder.
"""
LIMITS = {
    "minimum": "≥ {}",
    "exclusiveMinimum": "> {}",
    "maximum": "≤ {}",
    "exclusiveMaximum": "< {}",
    "minItems": "at least {} of them",
    "maxItems": "at most {} of them",
    "minLength": "at least {} characters",
    "pattern": "`{}`",
    "multipleOf": "a multiple of {}",
}
TYPES = {
    "integer": "whole number",
    "number": "number",
    "string": "text",
    "boolean": "true or false",
    "null": "unset",
    "object": "table",
}


def settings_page(settings: type[BaseModel]) -> str:
    """The page on `settings`: a table for its own fields, then one for each section in it."""
    schema = settings.model_json_schema()
    sections = _sections("", schema, schema.get("$defs", {}))
    return "\n".join([INTRODUCTION, *(section.markdown() for section in sections)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One table of the TOML file: its dotted name, what it is about, and its settings."""

    name: str
    description: str
    rows: list[str]

    def markdown(self) -> str:
        """Heading, description and table."""
        heading = f"## `[{self.name}]`\n\n" if self.name else ""
        text = f"{self.description}\n\n" if self.description else ""
        if not self.rows:
            return heading + text
        header = "| setting | value | default | what it does |\n|---|---|---|---|\n"
        return heading + text + header + "".join(f"{row}\n" for row in self.rows)


def _sections(name: str, schema: Schema, definitions: dict[str, Schema]) -> Iterator[Section]:
    """The section that `schema` describes, then those it holds, depth first."""
    rows, inner = [], []
    for field, field_schema in schema.get("properties", {}).items():
        target = _section_of(field_schema, definitions)
        if target is None:
            rows.append(_row(field, field_schema, definitions))
        else:
            own = {key: text for key, text in field_schema.items() if key == "description"}
            inner.append((f"{name}.{field}".lstrip("."), target | own))
    yield Section(name=name, description=schema.get("description", "") if name else "", rows=rows)
    for inner_name, inner_schema in inner:
        yield from _sections(inner_name, inner_schema, definitions)


def _section_of(schema: Schema, definitions: dict[str, Schema]) -> Schema | None:
    """The settings class a field holds, or None where it holds a plain value."""
    for candidate in [schema, *schema.get("anyOf", ()), *schema.get("allOf", ())]:
        target = _resolve(candidate, definitions)
        if "properties" in target:
            return target
    return None


def _resolve(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    return definitions[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _row(field: str, schema: Schema, definitions: dict[str, Schema]) -> str:
    value, text = _value(schema, definitions), schema.get("description", "")
    cells = [f"`{field}`", value, _default(schema), text]
    escaped = (" ".join(cell.split()).replace("|", r"\|") for cell in cells)
    return f"| {' | '.join(escaped)} |"


def _value(schema: Schema, definitions: dict[str, Schema]) -> str:
    """What may stand after the equals sign, in words: its type, choices and range."""
    schema = _resolve(schema, definitions)
    if "anyOf" in schema:
        return " or ".join(_value(choice, definitions) for choice in schema["anyOf"])
    choices = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if choices:
        return ", ".join(f"`{json.dumps(choice)}`" for choice in choices)
    if "prefixItems" in schema:  # its length shows already
        return _type(schema, definitions)
    limits = [text.format(schema[key]) for key, text in LIMITS.items() if key in schema]
    return ", ".join([_type(schema, definitions), *limits])


def _type(schema: Schema, definitions: dict[str, Schema]) -> str:
    if "prefixItems" in schema:
        return f"[{', '.join(_value(item, definitions) for item in schema['prefixItems'])}]"
    if schema.get("type") == "array":
        return f"[{_value(schema.get('items', {}), definitions)}, ...]"
    if schema.get("format") in ("path", "file-path", "directory-path"):
        return "path"
    return TYPES.get(schema.get("type", ""), "any value")


def _default(schema: Schema) -> str:
    if "default" not in schema:
        return "must be given"
    default = schema["default"]
    return "unset" if default is None else f"`{json.dumps(default, ensure_ascii=False)}`"


def cli_page(module_or_path: str, name: str) -> str:
    """The page on a Typer app, which `module_or_path` holds, as typer itself documents it."""
    command = [sys.executable, "-m", "typer", module_or_path, "utils", "docs", "--name", name]
    done = subprocess.run(command, capture_output=True, text=True, check=True, encoding="utf-8")
    note = "<!-- Written by `make docs` from the command line's help; do not edit. -->"
    title, _, rest = done.stdout.strip().partition("\n")
    return f"{title}\n\n{note}\n{rest}\n"


def catalogue_table() -> str:
    """The public data sets as a table."""
    from mitosam.cli.show_datasets import voxels_of
    from mitosam.data.catalogue import read_catalogue

    rows = [
        "| name | what | voxels, z y x (nm) | masks | licence | fetched |",
        "|---|---|---|---|---|---|",
    ]
    for one in read_catalogue():
        how = "yes" if one.is_fetchable else "by hand"
        cells = (
            f"`{one.name}`",
            f"[{one.title}]({one.page}): {one.about} Cite {one.citation}"
            + (f" ([{one.doi}](https://doi.org/{one.doi}))." if one.doi else "."),
            voxels_of(one) or "not known",
            one.labels,
            one.licence,
            how,
        )
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def datasets_page(text: str) -> str:
    """The page on data sets with its table written anew."""
    start, end = "<!-- catalogue -->", "<!-- end of catalogue -->"
    before, _, rest = text.partition(start)
    return f"{before}{start}\n\n{catalogue_table()}\n\n{end}{rest.partition(end)[2]}"


def pages() -> dict[Path, str]:
    """Every generated page and what it should hold."""
    from mitosam.config import RunSettings  # here, so that the functions above serve any settings

    datasets = ROOT / "docs" / "datasets.md"
    return {
        ROOT / "docs" / "settings.md": settings_page(RunSettings),
        ROOT / "docs" / "cli.md": cli_page("mitosam.cli", "mitosam"),
        datasets: datasets_page(datasets.read_text(encoding="utf-8")),
    }


def main() -> None:
    """Write the pages."""
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
