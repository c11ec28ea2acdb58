"""Nothing that is printed steers a terminal, whatever is in an event, in any form of output."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from broker_events.cli.event_text import readable
from broker_events.cli.output import aligned, printable, write_lines
from broker_events.runtime.events.record_json import json_line
from broker_events.runtime.process.console import EscapingConsole
from broker_events.runtime.process.logs import configure_logging
from broker_events.runtime.process.terminal import EscapedText, escape_output, escaped, plain_stream
from broker_events.runtime.settings import Settings

ROOT = Path(__file__).parents[2]
EVERYTHING = "".join(map(chr, range(sys.maxunicode + 1)))
# Unicode's property Bidi_Control (PropList.txt).
BIDI = {"\u061c", "\u200e", "\u200f", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}
HOSTILE = "\x1b[31m[red]\x9b2J\x07\x7f\r\u202e\x00:boom: \udc9b\x85"


def obeyed(text: str) -> set[str]:
    """Return the characters that a terminal obeys."""
    return {char for char in text if char in BIDI or unicodedata.category(char) in {"Cc", "Cs"}} - {"\n", "\t"}


def written(text: str, encoding: str = "utf-8") -> str:
    """Return what arrives where a program with escaped output writes the text."""
    buffer = io.BytesIO()
    stream = EscapedText(io.TextIOWrapper(buffer, encoding=encoding))
    stream.write(text)
    stream.flush()
    return buffer.getvalue().decode()


def test_every_character() -> None:
    assert obeyed(written(EVERYTHING)) == set()
    kept = "".join({*EVERYTHING} - obeyed(EVERYTHING))
    assert escaped(kept) == kept


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_the_locale_changes_nothing(encoding: str) -> None:
    assert written("é ✓ \x9b", encoding) == "é ✓ \\u009b"


@given(st.text())
def test_json_stays_the_same_document(text: str) -> None:
    document = {"value": text, text: ["\x7f", text]}
    line = written(json_line(document))
    assert json.loads(line) == document
    assert obeyed(line) == set()


def test_json_of_every_character() -> None:
    assert json.loads(written(json_line([*EVERYTHING]))) == [*EVERYTHING]


@given(st.text(), st.binary())
def test_tables_and_events(text: str, value: bytes) -> None:
    table = "\n".join(aligned([("a", "b"), (printable(text), text)]))
    assert obeyed(written(table)) == set()
    for content in (
        value,
        text.encode("utf-8", "replace"),
        json.dumps({text: text}, ensure_ascii=False).encode("utf-8", "replace"),
    ):
        assert obeyed(written(readable(content))) == set()


def test_what_is_drawn_keeps_its_own_styles_and_nothing_else() -> None:
    file = io.StringIO()
    console = EscapingConsole(file=file, force_terminal=True, color_system="standard", width=300)
    table = Table("head")
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE, style="green"))
    console.print(table, HOSTILE)
    drawn = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    assert obeyed(drawn) == set()
    assert drawn.count("\\u001b[31m[red]") == 3
    assert ":boom:" in drawn


@pytest.fixture
def _streams_back(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:  # noqa: ARG001 (sets its streams first)
    streams, handlers, level = (sys.stdout, sys.stderr), logging.root.handlers[:], logging.root.level
    yield
    sys.stdout, sys.stderr = streams
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.usefixtures("_streams_back")
def test_logs(log_format: str, capfd: pytest.CaptureFixture[str]) -> None:
    configure_logging(Settings(log_format=log_format), "router")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger(HOSTILE).exception("%s", HOSTILE, extra={"what": HOSTILE})
    out = capfd.readouterr().err
    assert "[red]" in out
    assert obeyed(out) == set()


@pytest.mark.usefixtures("_streams_back")
def test_standard_output_and_error(capfd: pytest.CaptureFixture[str]) -> None:
    plain = sys.stdout
    escape_output()
    escape_output()
    assert plain_stream(sys.stdout) is plain
    write_lines([HOSTILE])
    print(HOSTILE, file=sys.stderr)  # noqa: T201
    for text in capfd.readouterr():
        assert obeyed(text) == set()
        assert text.startswith("\\u001b[31m[red]")


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["tail", f"{HOSTILE[:20]}"], {}),
        (["quarantine", "list", "--reason", "\x1b[2J"], {}),
        (["\x1b[2J"], {}),
        (["tail", "--\x1b[2J"], {}),
        (["topics", "diff"], {"PIPELINE_\x1b[2J": "1"}),
        (["topics", "diff"], {"PIPELINE_TOPIC_PREFIX": "\x1b[2J\x9b"}),
        (["topics", "diff"], {"PIPELINE_CONFIG": "\x1b[2J\x9b"}),
        (["topics", "diff"], {"PIPELINE_SCHEMA_REGISTRY_CA_LOCATION": "/\x1b[2J\x9b"}),
    ],
)
def test_errors_that_quote(arguments: list[str], variables: dict[str, str]) -> None:
    if "\x00" in "".join(arguments):
        arguments = [argument.replace("\x00", "") for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "broker_events.cli", *arguments],
        cwd=ROOT,
        env={"PATH": "", "PIPELINE_START_TIMEOUT_S": "0.1"} | variables,
        check=False,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode != 0
    assert obeyed((done.stdout + done.stderr).decode()) == set()


def test_nothing_is_printed_past_the_escaping() -> None:
    """What writes elsewhere than to `sys.stdout` and `sys.stderr`, or draws with another console, is listed here."""
    past = re.compile(
        r"sys\.__std|\.std(out|err)\.buffer|fdopen|rich\.console import .*\bConsole\b|os\.write\(|click\.style"
    )
    found = {
        str(path.relative_to(ROOT)): sorted({match[0] for match in past.finditer(path.read_text(encoding="utf-8"))})
        for folder in ("cli", "console", "devstack", "audit", "ingest", "processors", "runtime", "schemas", "sinks")
        for path in (ROOT / folder).rglob("*.py")
    }
    allowed = {"runtime/process/console.py", "devstack/live_view.py"}
    assert {path for path, matches in found.items() if matches} <= allowed
