"""A page as a list of blocks, and its forms: Markdown and HTML."""

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}"
    "table{border-collapse:collapse;width:100%}td,th{border:1px solid #ccc;padding:.3rem .5rem;text-align:left;"
    "vertical-align:top}pre{background:#f5f5f5;padding:1rem;overflow:auto}"
)


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    header: tuple[str, ...]
    rows: list[tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Code:
    language: str
    text: str


Block = Heading | Paragraph | Table | Code
"""Texts may contain `code` in backticks and **bold**, nothing else."""


def markdown(blocks: Sequence[Block]) -> str:
    """Return the blocks as Markdown."""
    parts = []
    for block in blocks:
        match block:
            case Heading(level, text):
                parts.append(f"{'#' * level} {text}")
            case Paragraph(text):
                parts.append(text)
            case Code(language, text):
                parts.append(f"```{language}\n{text}\n```")
            case Table(header, rows):
                lines = (header, ("---",) * len(header), *rows)
                parts.append(
                    "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)
                )
    return "\n\n".join(parts) + "\n"


def html_body(blocks: Sequence[Block]) -> str:
    """Return the blocks as HTML elements; every text is escaped."""
    parts = []
    for block in blocks:
        match block:
            case Heading(level, text):
                parts.append(f"<h{level}>{_inline(text)}</h{level}>")
            case Paragraph(text):
                parts.append(f"<p>{_inline(text)}</p>")
            case Code(_, text):
                parts.append(f"<pre><code>{html.escape(text)}</code></pre>")
            case Table(header, rows):
                head = "".join(f"<th>{_inline(cell)}</th>" for cell in header)
                body = "".join(f"<tr>{''.join(f'<td>{_inline(cell)}</td>' for cell in row)}</tr>" for row in rows)
                parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    return "\n".join(parts)


def _inline(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))


def html_document(title: str, body: str) -> str:
    """Return a complete document with its style; `body` is HTML."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{html.escape(title)}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )
