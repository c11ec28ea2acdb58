"""The chart as Helm renders it, and what its manifests hold."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import go_tools
import yaml

RELEASE: Final = "trial"
NAMESPACE: Final = "events"
HELM: Final = Path(__file__).resolve().parents[2] / "helm"
VALUES: Final = sorted((HELM / "ci").glob("*-values.yaml"))
MINIMAL: Final = HELM / "ci" / "minimal-values.yaml"
FULL: Final = HELM / "ci" / "full-values.yaml"
SIMULATOR: Final = HELM / "ci" / "simulator-values.yaml"
WORKERS: Final = ("bridge", "router", "projector")

Manifest = dict[str, Any]


def helm(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [str(go_tools.find(go_tools.HELM)), *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@cache
def rendered(values: Path, *settings: str) -> tuple[Manifest, ...]:
    """Every manifest of a release; `settings` are such as `router.replicas=3`, values as JSON."""
    done = helm("template", RELEASE, HELM, "--namespace", NAMESPACE, "--values", values, *_set(settings))
    assert done.returncode == 0, done.stderr
    return tuple(document for document in yaml.safe_load_all(done.stdout) if document)


def refusal(values: Path, *settings: str) -> str:
    """What Helm says of values that it has to refuse."""
    done = helm("template", RELEASE, HELM, "--values", values, *_set(settings))
    assert done.returncode != 0, f"accepted: {settings}"
    return done.stderr


def _set(settings: tuple[str, ...]) -> list[str]:
    return [word for setting in settings for word in ("--set-json", setting)]


def of_kind(manifests: tuple[Manifest, ...], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def named(manifests: tuple[Manifest, ...], kind: str, component: str) -> Manifest:
    """The one manifest of a kind that belongs to a component: `router`."""
    (found,) = [m for m in of_kind(manifests, kind) if component_of(m) == component]
    return found


def component_of(manifest: Manifest) -> str:
    return str(manifest["metadata"]["labels"]["app.kubernetes.io/component"])


def pods(manifests: tuple[Manifest, ...]) -> Iterator[tuple[Manifest, Manifest]]:
    """Metadata and spec of every pod that the manifests lead to; the claims of a StatefulSet are volumes, too."""
    for manifest in manifests:
        if manifest["kind"] == "Pod":
            yield manifest["metadata"], manifest["spec"]
            continue
        spec = manifest.get("spec", {})
        spec = spec.get("jobTemplate", {}).get("spec", spec)  # a CronJob's
        if "template" in spec:
            claims = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])]
            pod = spec["template"]["spec"]
            volumes = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims]
            yield spec["template"]["metadata"], pod | ({"volumes": pod["volumes"] + volumes} if volumes else {})


def containers(spec: Manifest) -> list[Manifest]:
    return [*spec.get("initContainers", []), *spec["containers"]]


def selects(selector: Manifest, labels: Manifest) -> bool:
    return all(labels.get(name) == value for name, value in selector.items())
