"""The manifest in docs/how-to/deploy.md fits the chart with the values in docs/how-to/deploy.md."""

from __future__ import annotations

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from command_line import parse
from manifests import HELM, Manifest, helm, of_kind

from broker_events.runtime.settings import PREFIX, Settings

pytestmark = pytest.mark.timeout(1200)  # the first one builds Helm

GUIDE = (HELM.parent / "docs" / "how-to" / "deploy.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```yaml\n# ([\w.]+)\n(.*?)```", GUIDE, re.DOTALL))


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, ...]:
    values = tmp_path_factory.mktemp("guide") / "values.yaml"
    values.write_text(BLOCKS["values.yaml"], encoding="utf-8")
    done = helm("template", "broker-events", HELM, "--namespace", "events", "--values", values)
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


@pytest.fixture
def job() -> Manifest:
    manifest: Manifest = yaml.safe_load(BLOCKS["command.yaml"])
    return manifest


def test_kubernetes_takes_it_and_the_program_its_command(job: Manifest) -> None:
    kubernetes_validate.validate(job, "1.34", strict=True)
    [container] = job["spec"]["template"]["spec"]["containers"]
    parse(container["args"])


def test_it_has_settings_and_files_where_the_workers_have_them(chart: tuple[Manifest, ...], job: Manifest) -> None:
    spec = job["spec"]["template"]["spec"]
    [container] = spec["containers"]
    [source] = container["envFrom"]
    maps = {manifest["metadata"]["name"]: manifest["data"] for manifest in of_kind(chart, "ConfigMap")}
    settings = maps[source["configMapRef"]["name"]]
    [mount] = [mount for mount in container["volumeMounts"] if mount["name"] == "files"]
    [files] = [volume["secret"] for volume in spec["volumes"] if volume["name"] == "files"]
    mounted = {str(Path(mount["mountPath"]) / item["path"]) for item in files["items"]}
    assert {text for name, text in settings.items() if name.endswith("_LOCATION")} == mounted
    [worker] = [m for m in of_kind(chart, "StatefulSet") if m["metadata"]["name"] == source["configMapRef"]["name"]]
    [its_container] = worker["spec"]["template"]["spec"]["containers"]
    secret = {entry["name"] for entry in its_container["env"]} - {f"{PREFIX}INSTANCE_ID"}
    assert {entry["name"] for entry in container["env"]} == secret
    assert {name.removeprefix(PREFIX).lower() for name in secret} <= Settings.model_fields.keys()


@pytest.mark.parametrize("name", sorted({*re.findall(r"(?:statefulset|scaledobject) ([\w-]+)", GUIDE)}))
def test_workloads_that_commands_name_exist(chart: tuple[Manifest, ...], name: str) -> None:
    assert name in {manifest["metadata"]["name"] for manifest in of_kind(chart, "StatefulSet")}
