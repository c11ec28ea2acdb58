"""The generated files of the Helm chart match the program; tests/chart tests what Helm renders."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

from broker_events.runtime.settings import Settings

chart = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "helm" / "generate_values.py")))


def test_the_schema_and_the_topics_are_the_programs() -> None:
    assert chart.SCHEMA.read_text(encoding="utf-8") == chart.schema_text(), "run: make generate"
    assert chart.TOPICS.read_text(encoding="utf-8") == chart.topics_text(), "run: make generate"


def test_every_setting_has_its_place_in_the_values() -> None:
    definitions = json.loads(chart.SCHEMA.read_text(encoding="utf-8"))["$defs"]
    reached = {
        name for title in ("settings", "secrets", "files") for name in definitions[f"{title}OfBridge"]["properties"]
    }
    assert reached == Settings.model_fields.keys() - chart.OF_THE_CHART
    shared, of_bridge = (definitions[title]["properties"] for title in ("settings", "settingsOfBridge"))
    secret = [name for name in of_bridge if "secret" in name or "password" in name or name.endswith("_auth")]
    assert len(secret) == 4
    for name in secret:  # refused, with the place that it belongs to
        assert shared.get(name, of_bridge[name])["const"].endswith("it goes under secrets")
