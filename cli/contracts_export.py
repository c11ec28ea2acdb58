"""`broker-events contracts export`."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, get_args

import click

Format = Literal["asyncapi", "odcs", "json-schema", "html", "markdown"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)


def documents(form: Format, prefix: str) -> dict[str, str]:
    """Return the files of a format by name. `prefix`: of the topics, without the dot."""
    from broker_events.schemas.catalog import load_catalog
    from broker_events.schemas.export.asyncapi import asyncapi
    from broker_events.schemas.export.json_schema import json_schemas
    from broker_events.schemas.export.odcs import odcs_texts
    from broker_events.schemas.export.topic_page import html_pages, markdown_pages

    catalog = load_catalog()
    match form:
        case "asyncapi":
            return {"asyncapi.json": _json(asyncapi(catalog, prefix))}
        case "odcs":
            return odcs_texts(catalog, prefix)
        case "json-schema":
            return {name: _json(document) for name, document in json_schemas(catalog).items()}
        case "html":
            return html_pages(catalog, prefix)
        case "markdown":
            return markdown_pages(catalog, prefix)


def _json(document: object) -> str:
    import json

    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


@click.command("export")
@click.option("--format", "form", type=click.Choice(FORMATS), required=True, help="Format of the documents.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help="Folder to write to; it is created.",
)
@click.option("--prefix", default="broker", show_default=True, help="Prefix of the topics in the documents.")
def command(form: Format, out: Path, prefix: str) -> None:
    """Write the contracts as documents of other standards.

    Reads the contracts of this package, no cluster. asyncapi: one AsyncAPI 3.0 document. odcs: an Open Data Contract
    Standard 3.1 document per contract. json-schema: a JSON Schema per contract, of the values that `tail` and webhooks
    print. html, markdown: a page per topic. The contracts stay the source: no command reads these documents.

    Exit codes: 0 written, 2 usage.

    \b
    Examples:
      broker-events contracts export --format asyncapi --out build
      broker-events contracts export --format html --out site/topics --prefix prod
    """
    out.mkdir(parents=True, exist_ok=True)
    for name, text in documents(form, prefix).items():
        (out / name).write_text(text, encoding="utf-8")
        click.echo(out / name)
