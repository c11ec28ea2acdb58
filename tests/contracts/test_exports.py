"""The exported documents: fresh, complete, and usable by a program that has nothing else."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import fastavro
import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator

from broker_events.cli.contracts import command
from broker_events.cli.contracts_export import FORMATS
from broker_events.runtime.events.record_json import json_line
from broker_events.runtime.events.transcoder import Transcoder
from broker_events.schemas.catalog import load_catalog
from broker_events.schemas.frame import FRAME_BYTES

ROOT = Path(__file__).parents[2]
CATALOG = load_catalog()
RECORDS = sorted(ROOT.glob("schemas/events/*/samples/accept/*.record.json"))
ASYNCAPI: dict[str, Any] = json.loads((ROOT / "docs/contracts/asyncapi.json").read_text(encoding="utf-8"))


def test_committed_documents_are_fresh() -> None:
    generate = ROOT / "docs/contracts/export.py"
    done = subprocess.run([sys.executable, generate, "--check"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("form", FORMATS)
def test_every_format_is_written(form: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["export", "--format", form, "--out", str(tmp_path / "x"), "--prefix", "prod"])
    assert done.exit_code == 0, done.output
    files = [*(tmp_path / "x").iterdir()]
    assert sorted(map(str, files)) == sorted(done.output.split())
    text = "".join(path.read_text(encoding="utf-8") for path in files)
    assert form == "json-schema" or ("prod.event.transfer" in text and "broker.event.transfer" not in text)


def read_as_asyncapi_says(topic: str, body: bytes) -> Any:
    """Decode a value with nothing but the AsyncAPI document."""
    (channel,) = [each for each in ASYNCAPI["channels"].values() if each["address"] == f"broker.{topic}"]
    (reference,) = channel["messages"].values()
    message = ASYNCAPI["components"]["messages"][reference["$ref"].rpartition("/")[2]]
    assert message["bindings"]["kafka"]["schemaIdLocation"] == "payload"
    return fastavro.schemaless_reader(io.BytesIO(body), fastavro.parse_schema(message["payload"]["schema"]), None)


@pytest.mark.parametrize("path", RECORDS, ids=lambda path: f"{path.parents[2].name}-{path.stem}")
def test_a_consumer_made_from_the_documents_reads_every_sample(path: Path) -> None:
    expected = json.loads(path.read_text(encoding="utf-8"))
    contract = CATALOG.contracts[path.parents[2].name]
    value = path.with_name(path.name.replace(".record", "")).read_bytes()
    record = read_as_asyncapi_says(f"event.{contract.name}", Transcoder(contract, 1).encode(value)[FRAME_BYTES:])
    assert json.loads(json_line(record)) == expected
    schema = json.loads((ROOT / f"docs/contracts/json-schema/{contract.name}.schema.json").read_text(encoding="utf-8"))
    validator = Draft202012Validator(schema)
    validator.validate(expected)
    assert not validator.is_valid({**expected, "event_time": "2025-03-29 07:02"})
    assert not validator.is_valid({**expected, "unknown": 1})


def test_asyncapi_says_where_how_long_and_what_holds_it() -> None:
    for name, (contract, topic) in CATALOG.topics.items():
        channel = ASYNCAPI["channels"][name]
        configuration = channel["bindings"]["kafka"]["topicConfiguration"]
        assert configuration["cleanup.policy"] == topic.cleanup.split(",")
        assert configuration.get("retention.ms") == (topic.retention_days and topic.retention_days * 86_400_000)
        assert [promise["kind"] for promise in channel["x-promises"]] == [one.kind for one in topic.promises]
        assert channel["x-contract-version"] == contract.version


def test_odcs_keeps_names_types_and_classes() -> None:
    for contract in CATALOG.contracts.values():
        path = ROOT / f"docs/contracts/odcs/{contract.name}.odcs.yaml"
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert (document["version"], document["status"]) == (contract.version, contract.lifecycle.status)
        assert [each["name"] for each in document["schema"]] == [topic.name for topic in contract.topics]
        for part in document["schema"]:
            fields = [] if contract.schema is None else contract.schema["fields"]
            found = {each["name"]: each["classification"] for each in part.get("properties", [])}
            assert found == {field["name"]: field["class"] for field in fields}
    transfer = yaml.safe_load((ROOT / "docs/contracts/odcs/transfer.odcs.yaml").read_text(encoding="utf-8"))
    amount = next(each for each in transfer["schema"][0]["properties"] if each["name"] == "amount")
    assert (amount["logicalType"], amount["physicalType"]) == ("number", "bytes (decimal, precision 38, scale 18)")


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_pages_are_whole_html_and_link_each_other(tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["export", "--format", "html", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    for path in tmp_path.iterdir():
        text = path.read_text(encoding="utf-8")
        tags = Tags()
        tags.feed(text)
        assert tags.open == []
        for target in re.findall(r'href="([^"]+)"', text):
            assert (tmp_path / target).exists()
    assert len([*tmp_path.iterdir()]) == len(CATALOG.topics) + 1
