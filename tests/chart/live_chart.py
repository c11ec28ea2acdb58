"""The chart on a real API server; `make chart-live` runs it (the server is built once, in minutes).

There is no kubelet and no controller: objects are judged and kept, pods don't run, jobs don't end.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from api_server import ApiServer, Refused, running
from manifests import FULL, HELM, MINIMAL, NAMESPACE, RELEASE, VALUES, WORKERS, helm, pods, rendered

pytestmark = pytest.mark.timeout(3000)

# What belongs to operators that aren't there: kind, its plural, whether it is ours to be taken as it is.
CUSTOM: Final = (
    ("keda.sh", "v1alpha1", "ScaledObject"),
    ("keda.sh", "v1alpha1", "TriggerAuthentication"),
    ("kafka.strimzi.io", "v1", "KafkaTopic"),
    ("monitoring.coreos.com", "v1", "ServiceMonitor"),
    ("monitoring.coreos.com", "v1", "PrometheusRule"),
)
RESTRICTED: Final = "pod-security.kubernetes.io/"


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with running(tmp_path_factory.mktemp("kubernetes")) as server:
        for name in (NAMESPACE, "kafka"):
            labels = {RESTRICTED + mode: "restricted" for mode in ("enforce", "warn")}
            server.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
        priority = {"metadata": {"name": "high"}, "value": 1000}  # the platform's, which full-values.yaml names
        server.create({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", **priority})
        for group, version, kind in CUSTOM:
            server.create(definition(group, version, kind))
        for group, version in {(group, version) for group, version, _ in CUSTOM}:
            wait_for(server, f"/apis/{group}/{version}")
        yield server


def definition(group: str, version: str, kind: str) -> dict[str, Any]:
    """A custom resource that takes whatever it is given."""
    plural = f"{kind.lower()}s"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": kind},
            "versions": [
                {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": anything}},
            ],
        },
    }


def wait_for(server: ApiServer, path: str) -> None:
    kinds = {kind for group, version, kind in CUSTOM if path == f"/apis/{group}/{version}"}
    for _ in range(100):
        try:
            if kinds <= {resource["kind"] for resource in server.request("GET", path).body["resources"]}:
                return
        except Refused:
            pass
        time.sleep(0.1)
    raise AssertionError(f"{path} is not served")


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_every_object_is_taken(api: ApiServer, values: Path) -> None:
    for manifest in rendered(values):
        answer = api.try_out(manifest)
        assert not answer.warnings, (manifest["kind"], manifest["metadata"]["name"])


@pytest.mark.parametrize("values", VALUES, ids=lambda path: path.stem)
def test_every_pod_is_admitted_under_the_restricted_profile(api: ApiServer, values: Path) -> None:
    for number, (metadata, spec) in enumerate(pods(rendered(values))):
        api.try_out(pod(number, metadata, spec))


def pod(number: int, metadata: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    about = {"name": f"pod-{number}", "namespace": NAMESPACE, "labels": metadata["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": about, "spec": spec}


def test_a_pod_that_breaks_the_profile_is_refused(api: ApiServer) -> None:
    metadata, spec = next(pods(rendered(MINIMAL)))
    broken = copy.deepcopy(spec)
    broken["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(Refused, match="restricted"):
        api.try_out(pod(0, metadata, broken))


def release(api: ApiServer, *words: object) -> None:
    done = helm(*words, "--namespace", NAMESPACE, *api.helm_options)
    assert done.returncode == 0, done.stderr


def replicas(api: ApiServer) -> int:
    name = f"{RELEASE}-broker-events-router"
    found = api.request("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets/{name}").body
    return int(found["spec"]["replicas"])


def test_install_upgrade_rollback_uninstall(api: ApiServer) -> None:
    apply = ("upgrade", "--install", RELEASE, HELM, "--no-hooks", "--values")  # hooks would wait for their job
    release(api, *apply, MINIMAL)
    assert replicas(api) == 2
    release(api, *apply, MINIMAL, "--set", "router.replicas=5", "--set", "settings.log_level=DEBUG")
    assert replicas(api) == 5
    release(api, "rollback", RELEASE, "1", "--no-hooks")
    assert replicas(api) == 2
    release(api, *apply, FULL)
    release(api, "uninstall", RELEASE, "--no-hooks")
    left = api.request("GET", f"/apis/apps/v1/namespaces/{NAMESPACE}/statefulsets").body["items"]
    assert not [item for item in left if not item["metadata"].get("deletionTimestamp")]
    topics = api.request("GET", "/apis/kafka.strimzi.io/v1/namespaces/kafka/kafkatopics").body["items"]
    assert len(topics) > len(WORKERS), "the topics outlive the release"
