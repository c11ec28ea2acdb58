"""docker-compose.yml: sound as Compose reads it, and all that it says of the program is so."""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, Final

import go_tools
import pytest
import yaml
from command_line import parse
from manifests import FULL, HELM, named, rendered
from prometheus_tools import promtool, tool

from broker_events.runtime.process.lifecycle import STOP_LIMIT_S
from broker_events.runtime.settings import PREFIX, Settings, load_settings

pytestmark = pytest.mark.timeout(900)

ROOT: Final = Path(__file__).parents[2]
COMPOSE: Final = ROOT / "docker-compose.yml"
JOBS: Final = {"topics", "schemas"}
WORKERS: Final = {"bridge", "router", "projector", "deliver"}
OURS: Final = JOBS | WORKERS | {"simulator"}
OTHERS: Final = {"kafka", "registry", "prometheus", "alertmanager", "grafana", "kafka-ui"}
ORDER: Final = ["bridge", "router", "projector", "deliver"].index
HTTP_PORT: Final = 9464  # the image's


def check(file: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [go_tools.build(go_tools.COMPOSE_CHECK), file], capture_output=True, text=True, check=False, cwd=ROOT
    )


@cache
def services() -> dict[str, dict[str, Any]]:
    done = check(COMPOSE)
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, Any]] = json.loads(done.stdout)["services"]
    return found


def test_everything_is_there() -> None:
    assert services().keys() == OURS | OTHERS
    assert [name for name, service in services().items() if service.get("profiles")] == ["kafka-ui"]


def test_a_file_that_is_wrong_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "docker-compose.yml"
    text = COMPOSE.read_text(encoding="utf-8")
    file.write_text(text.replace("registry: {condition", "registri: {condition"), encoding="utf-8")
    assert "registri" in check(file).stderr


def test_images_are_pinned() -> None:
    for name, service in services().items():
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), name
        assert ("build" in service) == (name in OURS)


def test_no_port_but_on_this_machine() -> None:
    for service in services().values():
        for port in service.get("ports", []):
            assert port["host_ip"] == "127.0.0.1"


def test_whoever_is_waited_for_can_be() -> None:
    for name, service in services().items():
        if name in JOBS:
            assert service["healthcheck"] == {"disable": True}
        elif name not in WORKERS:  # theirs is the image's
            assert service["healthcheck"]["test"][0] == "CMD"
        for other, dependency in service.get("depends_on", {}).items():
            wanted = "service_completed_successfully" if other in JOBS else "service_healthy"
            assert dependency["condition"] == wanted, f"{name} on {other}"


def test_data_is_in_named_volumes_and_files_are_there() -> None:
    stores = set()
    for service in services().values():
        for mount in service.get("volumes", []):
            if mount["type"] == "volume":
                stores.add(mount["source"])
            else:
                assert mount["read_only"]
                assert Path(mount["source"]).exists()
    assert stores == {"kafka", "projector", "prometheus", "alertmanager", "grafana"}


@pytest.mark.parametrize("name", sorted(OURS))
def test_ours_are_locked_down(name: str) -> None:
    service = services()[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in service, "the image's"
    if name in WORKERS:
        assert float(service["stop_grace_period"].removesuffix("s")) > STOP_LIMIT_S


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_command_exists(name: str) -> None:
    parse(services()[name]["command"])


@pytest.mark.parametrize("name", sorted(OURS - {"simulator"}))
def test_the_program_takes_its_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in Settings.model_fields:
        monkeypatch.delenv(PREFIX + setting.upper(), raising=False)
    service = services()[name]
    mounted = {volume["target"]: volume["source"] for volume in service.get("volumes") or ()}
    for variable, text in service["environment"].items():
        monkeypatch.setenv(variable, mounted.get(text, text))
    settings = load_settings()
    assert settings.kafka_bootstrap_servers == "kafka:9092"
    assert settings.schema_registry_url.startswith("http://registry:8080/")


def test_the_bridge_finds_the_simulator() -> None:
    bridge, simulator = services()["bridge"], services()["simulator"]
    port = simulator["command"][simulator["command"].index("--port") + 1]
    assert bridge["environment"]["PIPELINE_GRPC_TARGET"] == f"simulator:{port}"
    assert f"'127.0.0.1', {port}" in simulator["healthcheck"]["test"][-1]
    for name, text in simulator["environment"].items():
        assert bridge["environment"][name] == text


def test_prometheus_asks_every_worker() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text(encoding="utf-8"))
    (found,) = [source for job in config["scrape_configs"] for source in job["dns_sd_configs"]]
    assert set(found["names"]) == WORKERS
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert found["port"] == HTTP_PORT
    assert f"PIPELINE_HTTP_PORT={HTTP_PORT}" in image
    (alerting,) = config["alerting"]["alertmanagers"]
    assert alerting["static_configs"] == [{"targets": ["alertmanager:9093"]}]


def test_targets_are_named_as_on_kubernetes() -> None:
    monitor = named(rendered(FULL), "ServiceMonitor", "monitoring")
    (endpoint,) = monitor["spec"]["endpoints"]
    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    here = {each["target_label"] for each in job["relabel_configs"]} | {"job"}
    there = {each["targetLabel"] for each in endpoint["relabelings"]} | {"namespace"}  # the operator sets it
    assert here == there


def test_the_expected_workers_are_those_that_compose_starts() -> None:
    config = yaml.safe_load((ROOT / "deploy/prometheus.yml").read_text(encoding="utf-8"))
    (job,) = config["scrape_configs"]
    (namespace,) = [each["replacement"] for each in job["relabel_configs"] if each["target_label"] == "namespace"]
    file = next(Path(m["source"]) for m in services()["prometheus"]["volumes"] if m["target"] in config["rule_files"])
    (group,) = yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    labels = [rule["labels"] for rule in group["rules"]]
    assert labels == [
        {"namespace": namespace, "job": job["job_name"], "role": role} for role in sorted(WORKERS, key=ORDER)
    ]
    assert {rule["record"] for rule in group["rules"]} == {"broker_events:expected_workers"}


def test_prometheus_and_alertmanager_take_their_files(tmp_path: Path) -> None:
    done = subprocess.run(
        [tool("amtool"), "check-config", ROOT / "deploy/alertmanager.yml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    text = (ROOT / "deploy/prometheus.yml").read_text(encoding="utf-8")
    config = tmp_path / "prometheus.yml"
    config.write_text(
        text.replace("/etc/prometheus/rules", str(HELM / "rules")).replace("/etc/prometheus", str(ROOT / "deploy")),
        encoding="utf-8",
    )
    checked = promtool("check", "config", config)
    assert checked.returncode == 0, checked.stderr


def test_rules_and_board_are_the_charts() -> None:
    mounts = {
        mount["target"]: Path(mount["source"])
        for name in ("prometheus", "grafana")
        for mount in services()[name]["volumes"]
    }
    assert mounts["/etc/prometheus/rules"] == HELM / "rules"
    assert mounts["/var/lib/grafana/boards"] == HELM / "boards"
    (provider,) = yaml.safe_load(
        (ROOT / "deploy/grafana/provisioning/dashboards/boards.yml").read_text(encoding="utf-8")
    )["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/boards"
    home = Path(services()["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (HELM / "boards" / home.name).exists()
