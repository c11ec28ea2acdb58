"""Write the reference pages beside this file from the program: `python docs/reference/generate.py [--check]`.

With `--check` nothing is written: the names of stale pages go to stderr, and the exit code is 1.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import click
from prometheus_client import Metric

from broker_events.cli.main import COMMANDS, cli
from broker_events.runtime.process import errors
from broker_events.runtime.process.metrics import Metrics
from broker_events.runtime.settings import PREFIX, Settings
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.invalid_event import Reason
from broker_events.schemas.models import Alert

FOLDER: Final = Path(__file__).resolve().parent
_WIDTH: Final = 100
_RESTART: Final = errors.RestartRequired.exit_code
# Errors of one worker, which are not in runtime/process/errors.py.
_OF_ONE_WORKER: Final = {
    3: (
        "A projector cannot process a record (docs/how-to/runbook.md, A record stops the projector).",
        "A record does not fit its lake table (docs/how-to/runbook.md, A lake table stopped).",
    ),
    4: ("Another lake worker has taken a table over.",),
}


def pages() -> dict[str, str]:
    """Text of each page, by file name."""
    return {
        "settings.md": settings_page(),
        "commands.md": commands_page(),
        "exit-codes.md": exit_codes_page(),
        "metrics.md": metrics_page(),
        "topics.md": topics_page(),
        "quarantine-reasons.md": reasons_page(),
        "alert.schema.json": alert_schema(),
    }


def settings_page() -> str:
    """Every setting with its default."""

    def rows() -> Iterator[tuple[str, ...]]:
        for name, field in Settings.model_fields.items():
            yield f"`{PREFIX}{name.upper()}`", _default(name), field.description or ""

    return _page(
        "Settings",
        f"""
        Set a setting as `{PREFIX}<NAME>` in the environment, or as `name = value` in the TOML file that
        `{PREFIX}CONFIG` names. The environment wins over the file. An empty value counts as not set. A wrong value
        stops the start with one line that names the setting. A variable whose name resembles a setting is rejected;
        other `{PREFIX}` variables are ignored with a warning.
        """,
        _table(("setting", "default", "meaning"), rows()),
    )


def _default(name: str) -> str:
    field = Settings.model_fields[name]
    if name == "instance_id":
        return "host name"
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is None:
        return ""
    text = ",".join(value) if isinstance(value, tuple) else str(value)
    return f"`{text.lower() if isinstance(value, bool) else text}`"


def commands_page() -> str:
    """The help text of each command."""
    parts = []
    for name, module in COMMANDS.items():
        command = importlib.import_module(module).command
        parts += [f"## broker-events {name}\n\n{_help(command, f'broker-events {name}')}"]
        if isinstance(command, click.Group):
            for sub_name, sub in command.commands.items():
                full = f"broker-events {name} {sub_name}"
                parts += [f"### {full}\n\n{_help(sub, full)}"]
    intro = "The help text of every command, as `--help` prints it."
    return _page("Commands", intro, f"{_help(cli, 'broker-events')}\n\n" + "\n\n".join(parts))


def _help(command: click.Command, name: str) -> str:
    with click.Context(command, info_name=name, max_content_width=_WIDTH, terminal_width=_WIDTH) as context:
        return f"```text\n{command.get_help(context)}\n```"


def exit_codes_page() -> str:
    """The exit code of each way that a process ends."""
    found = {
        0: "Success, or a clean stop after SIGTERM or Ctrl-C.",
        1: "The command found what it looks for: a difference, a discrepancy, a record that is not there.",
        130: "Ctrl-C ended the command before it was done.",
    }
    for error in vars(errors).values():  # in the order of their definition: the base class of a code comes first
        if inspect.isclass(error) and issubclass(error, errors.PipelineError):
            text = " ".join((inspect.getdoc(error) or "").split())
            known = found.setdefault(error.exit_code, text)
            if known != text and error.exit_code > 1:
                found[error.exit_code] = f"{known} Or: {text}"
    for code, texts in _OF_ONE_WORKER.items():
        found[code] = " Or: ".join((found[code], *texts))
    rows = ((str(code), text, "yes" if code == _RESTART else "no") for code, text in sorted(found.items()))
    return _page(
        "Exit codes",
        """
        What the exit code of every `broker-events` command means, and whether a supervisor should restart the process.
        For systemd: `Restart=on-failure` and `RestartPreventExitStatus=2 3 4`. Docker and Kubernetes restart after any
        code; the image therefore sets `SUPERSEDED_ACTION=wait`, which keeps a superseded worker running, not ready.
        """,
        _table(("code", "meaning", "restart"), rows),
    )


def metrics_page() -> str:
    """Every metric of the pipeline's own."""

    def rows() -> Iterator[tuple[str, ...]]:
        families: list[Metric] = sorted(Metrics().registry.collect(), key=lambda family: family.name)
        for family in families:
            if family.name.startswith("broker_events_"):
                yield f"`{family.name}`", family.type, family.documentation

    return _page(
        "Metrics",
        """
        Each worker serves these at `/metrics` in the Prometheus text format. The name of a counter ends with `_total`
        there. No label ever holds an account or an event id.
        """,
        _table(("metric", "type", "meaning"), rows()),
    )


def topics_page() -> str:
    """Every topic of the catalog."""

    def rows() -> Iterator[tuple[str, ...]]:
        for name, (contract, topic) in load_catalog().topics.items():
            days = None if topic.retention_days is None else f"{topic.retention_days} days"
            kept = ", ".join(filter(None, ("compacted" if topic.is_compacted else None, days)))
            value = "bytes" if contract.schema is None else f"Avro `{contract.schema['name']}`"
            yield f"[`{name}`](topics/{name}.md)", topic.key, value, kept, contract.description

    return _page(
        "Topics",
        f"""
        The Kafka name of a topic is `{PREFIX}TOPIC_PREFIX`, a dot and the name below: `broker.alerts` by default. Keys
        are UTF-8 text. Avro values are in the Confluent wire format under the subject `<topic>-value`.

        A typed record begins with `event_id`, `event_type`, `biz_type`, `position`, `event_time`, `event_time_text` and
        `account_id`. The brokerage's own fields follow, then `extra` with every member that no field reads. Its header
        `raw_offset` is the offset of its raw record, in the same partition number. Alerts have CloudEvents headers
        (`ce_id`, `ce_type`, ...). If the event's envelope has a W3C `traceparent`, all records keep it as a header.

        The header `simulated: true` marks every record that derives from an event of `broker-events simulate`: raw,
        typed, quarantine, alert and state records. The event's envelope has a member `"simulated": true` too, so the
        typed record has `/simulated` in `extra`. Consumers that act on events should skip these records.
        """,
        _table(("topic", "key", "value", "kept", "content"), rows()),
    )


def reasons_page() -> str:
    """Every reason of a quarantine record."""
    return _page(
        "Quarantine reasons",
        "The field `reason` of a quarantine record, and the label `reason` of the quarantine metrics.",
        _table(("reason", "meaning"), ((f"`{reason.value}`", _meaning(reason)) for reason in Reason)),
    )


def alert_schema() -> str:
    """JSON Schema of a webhook's body. It allows more members: a later version may add some."""

    def opened(schema: Any) -> Any:  # noqa: ANN401 (JSON)
        if isinstance(schema, dict):
            return {name: opened(each) for name, each in schema.items() if name != "additionalProperties"}
        return [opened(each) for each in schema] if isinstance(schema, list) else schema

    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Alert.model_json_schema(mode="serialization")
    return json.dumps(opened(schema), indent=2, ensure_ascii=False) + "\n"


def _meaning(reason: Reason) -> str:
    lines = inspect.getsource(Reason).split("\n")
    place = next(index for index, line in enumerate(lines) if line.strip() == f'{reason.name} = "{reason.value}"')
    return lines[place + 1].strip().strip('"') if lines[place + 1].strip().startswith('"""') else ""


def _page(title: str, intro: str, body: str) -> str:
    note = "<!-- Written by docs/reference/generate.py. Run `make generate` to change it. -->"
    return f"{note}\n\n# {title}\n\n{inspect.cleandoc(intro)}\n\n{body.rstrip()}\n"


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them where the arguments say `--check`. Returns the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python docs/reference/generate.py [--check]\n")
        return 2
    stale = []
    for name, text in pages().items():
        path = FOLDER / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if arguments:
            stale.append(name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        sys.stderr.write(f"stale: {', '.join(stale)}; run `make generate`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
