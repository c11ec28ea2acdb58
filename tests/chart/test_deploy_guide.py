"""The commands and values in docs/how-to/deploy.md fit the chart."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from command_line import parse
from manifests import HELM, Manifest, helm, named, of_kind

from broker_events.runtime.settings import PREFIX

pytestmark = pytest.mark.timeout(1200)  # the first one builds Helm

GUIDE = (HELM.parent / "docs" / "how-to" / "deploy.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```yaml\n# ([\w.]+)\n(.*?)```", GUIDE, re.DOTALL))
OTHER_VALUES = [block for block in re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL) if not block.startswith("# ")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the values files of the guide, and the chart as `helm`."""
    folder = tmp_path_factory.mktemp("guide")
    for name, text in BLOCKS.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / "helm").symlink_to(HELM)
    return folder


def rendered(*words: object) -> tuple[Manifest, ...]:
    done = helm("template", *words)
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


@pytest.fixture(scope="module")
def chart(folder: Path) -> tuple[Manifest, ...]:
    return rendered("broker-events", HELM, "--namespace", "events", "--values", folder / "values.yaml")


def test_the_command_makes_a_job(chart: tuple[Manifest, ...], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (line,) = re.findall(r"^helm template (.*?) \| kubectl apply", GUIDE.replace("\\\n", " "), re.MULTILINE)
    job = named(rendered(*shlex.split(line)), "Job", "command")
    kubernetes_validate.validate(job, "1.34", strict=True)
    assert f"job/{job['metadata']['name']}" in GUIDE
    [container] = job["spec"]["template"]["spec"]["containers"]
    parse(container["args"])
    seen = {entry["name"]: entry for entry in container["env"]}
    worker = named(chart, "ConfigMap", "projector")["data"]
    assert {name: seen[name]["value"] for name in worker} == worker, "the workers' settings"
    assert seen[f"{PREFIX}KAFKA_SASL_PASSWORD"]["valueFrom"]["secretKeyRef"]["name"] == "broker-events-operator"


@pytest.mark.parametrize("words", re.findall(r"`\{([\w,-]+)\}`", GUIDE))
def test_other_commands_exist(words: str) -> None:
    parse(words.split(","))


@pytest.mark.parametrize("values", OTHER_VALUES, ids=lambda values: values.partition(":")[0])
def test_other_values_are_taken(values: str, folder: Path) -> None:
    more = folder / "more.yaml"
    more.write_text(values, encoding="utf-8")
    rendered("broker-events", HELM, "--namespace", "events", "--values", folder / "values.yaml", "--values", more)


@pytest.mark.parametrize("name", sorted({*re.findall(r"(?:statefulset|scaledobject) ([\w-]+)", GUIDE)}))
def test_workloads_that_commands_name_exist(chart: tuple[Manifest, ...], name: str) -> None:
    assert name in {manifest["metadata"]["name"] for manifest in of_kind(chart, "StatefulSet")}
