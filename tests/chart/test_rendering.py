"""The chart with each of its example values: sound manifests that the restricted profile takes."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import go_tools
import kubernetes_validate
import pytest
import yaml
from command_line import parse
from manifests import (
    FULL,
    HELM,
    MINIMAL,
    NAMESPACE,
    RELEASE,
    SIMULATOR,
    VALUES,
    WORKERS,
    component_of,
    containers,
    helm,
    named,
    of_kind,
    pods,
    refusal,
    rendered,
    selects,
)
from prometheus_tools import promtool

from broker_events.runtime.process.lifecycle import STOP_LIMIT_S

pytestmark = pytest.mark.timeout(1200)  # the first one builds Helm

KUBERNETES = ("1.29", "1.34")
CUSTOM = {
    "keda.sh/v1alpha1": {"ScaledObject", "TriggerAuthentication"},
    "kafka.strimzi.io/v1": {"KafkaTopic"},
    "monitoring.coreos.com/v1": {"ServiceMonitor", "PrometheusRule"},
}
SECRET = re.compile("PASSWORD|SECRET|AUTH")
# What kube-score asks for and the chart doesn't do, with the reason.
NOT_WANTED = {
    "container-image-pull-policy",  # a tag is never moved; Always would need the registry at every restart
    "container-resources",  # CPU limits would stretch transactions; the rest has a test of its own
    "pod-probes-identical",  # the simulator has one port, and nothing else to ask
}
SWITCHED_ON = ("networkPolicy.enabled=true", "podDisruptionBudget.enabled=true")


@pytest.fixture(params=VALUES, ids=lambda path: path.stem.removesuffix("-values"))
def values(request: pytest.FixtureRequest) -> Path:
    path: Path = request.param
    return path


def test_lint(values: Path) -> None:
    done = helm("lint", "--strict", HELM, "--values", values)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WARN" not in done.stdout + done.stderr


@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_manifests_are_as_kubernetes_wants_them(values: Path, kubernetes: str) -> None:
    for manifest in rendered(values):
        if manifest["kind"] not in CUSTOM.get(manifest["apiVersion"], ()):
            kubernetes_validate.validate(manifest, kubernetes, strict=True)


def test_nothing_is_there_twice(values: Path) -> None:
    names = [(m["kind"], m["metadata"].get("namespace"), m["metadata"]["name"]) for m in rendered(values)]
    assert len(names) == len(set(names))


def test_pods_keep_to_the_restricted_profile(values: Path) -> None:
    found = [*pods(rendered(values))]
    assert len(found) >= 5
    for _, spec in found:
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] >= 10_000
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert {kind for volume in spec["volumes"] for kind in volume} <= {
            "name",
            "emptyDir",
            "projected",
            "persistentVolumeClaim",
        }
        for container in containers(spec):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }


def test_images_are_pinned_and_resources_bounded(values: Path) -> None:
    for _, spec in pods(rendered(values)):
        for container in containers(spec):
            assert re.search(r"(:(?!latest$)[\w.-]+|@sha256:[0-9a-f]{64})$", container["image"])
            assert container["resources"]["requests"].keys() == {"cpu", "memory", "ephemeral-storage"}
            assert container["resources"]["limits"].keys() == {"memory", "ephemeral-storage"}


def test_no_secret_is_in_plain_text(values: Path) -> None:
    for manifest in of_kind(rendered(values), "ConfigMap"):
        assert not [name for name in manifest["data"] if SECRET.search(name)]
    for _, spec in pods(rendered(values)):
        for container in containers(spec):
            for entry in container.get("env", []):
                assert "secretKeyRef" in entry.get("valueFrom", {}) or not SECRET.search(entry["name"])
    assert not of_kind(rendered(values), "Secret"), "they are the platform's"


def test_what_runs_on_is_probed_and_has_time_to_stop(values: Path) -> None:
    for manifest in of_kind(rendered(values), "StatefulSet", "Deployment"):
        spec = manifest["spec"]["template"]["spec"]
        assert spec["terminationGracePeriodSeconds"] >= STOP_LIMIT_S + 5
        (container,) = spec["containers"]
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
        if manifest["kind"] == "StatefulSet":
            assert container["livenessProbe"]["httpGet"]["path"] == "/live"
            assert container["startupProbe"]["httpGet"]["path"] == "/live"
            assert container["readinessProbe"]["httpGet"]["path"] == "/ready"


def test_whatever_is_referred_to_is_there(values: Path) -> None:
    manifests = rendered(values)
    labels = [metadata["labels"] for metadata, _ in pods(manifests)]
    config_maps = {m["metadata"]["name"] for m in of_kind(manifests, "ConfigMap")}
    accounts = {m["metadata"]["name"] for m in of_kind(manifests, "ServiceAccount")} or {"events"}
    for manifest in of_kind(manifests, "StatefulSet", "Deployment"):
        assert selects(manifest["spec"]["selector"]["matchLabels"], manifest["spec"]["template"]["metadata"]["labels"])
    for manifest in of_kind(manifests, "Service"):
        assert any(selects(manifest["spec"]["selector"], pod) for pod in labels)
    for manifest in of_kind(manifests, "PodDisruptionBudget"):
        assert any(selects(manifest["spec"]["selector"]["matchLabels"], pod) for pod in labels)
    for manifest in of_kind(manifests, "NetworkPolicy"):
        assert any(selects(manifest["spec"]["podSelector"]["matchLabels"], pod) for pod in labels)
    for _, spec in pods(manifests):
        assert spec["serviceAccountName"] in accounts
        volumes = {volume["name"] for volume in spec["volumes"]}
        for container in containers(spec):
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            assert {source["configMapRef"]["name"] for source in container.get("envFrom", [])} <= config_maps


def test_what_runs_before_the_release_is_there_needs_nothing_of_it() -> None:
    manifests = rendered(MINIMAL)
    hooks = [m for m in manifests if "pre-install" in m["metadata"].get("annotations", {}).get("helm.sh/hook", "")]
    assert {m["kind"] for m in hooks} == {"Job", "ServiceAccount", "NetworkPolicy"}
    (job,) = of_kind(tuple(hooks), "Job")
    spec = job["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] in {m["metadata"]["name"] for m in hooks if m["kind"] == "ServiceAccount"}
    assert not any("envFrom" in container for container in containers(spec))


@pytest.mark.parametrize("component", WORKERS)
def test_workers_have_stable_names_and_start_together(component: str) -> None:
    spec = named(rendered(MINIMAL), "StatefulSet", component)["spec"]
    assert spec["podManagementPolicy"] == "Parallel"
    instance = spec["template"]["spec"]["containers"][0]["env"][0]
    assert instance["name"] == "PIPELINE_INSTANCE_ID"
    assert instance["valueFrom"]["fieldRef"]["fieldPath"] == "metadata.name"


def test_there_is_one_bridge() -> None:
    assert named(rendered(MINIMAL), "StatefulSet", "bridge")["spec"]["replicas"] == 1


@pytest.mark.parametrize(
    ("values", "settings", "pods_of"),
    [
        (MINIMAL, ("router.replicas=3", "router.settings.http_port=9999"), {"bridge": 1, "router": 3, "projector": 2}),
        (MINIMAL, ("projector.enabled=false",), {"bridge": 1, "router": 2}),
        (FULL, ("router.autoscaling.minReplicas=4",), {"bridge": 1, "router": 4, "projector": 2, "deliver": 2}),
    ],
)
def test_helm_test_asks_each_pod(values: Path, settings: tuple[str, ...], pods_of: dict[str, int]) -> None:
    manifests = rendered(values, *settings)
    (test,) = of_kind(manifests, "Pod")
    (ready,) = [container for container in test["spec"]["containers"] if container["name"] == "ready"]
    wanted = []
    for component, count in pods_of.items():
        workload, service = named(manifests, "StatefulSet", component), named(manifests, "Service", component)
        assert workload["spec"]["serviceName"] == service["metadata"]["name"]
        assert service["spec"]["clusterIP"] == "None", "or its pods have no names"
        domain = f"{service['metadata']['name']}.{NAMESPACE}.svc:{service['spec']['ports'][0]['port']}"
        wanted += [f"http://{workload['metadata']['name']}-{ordinal}.{domain}/ready" for ordinal in range(count)]
    assert ready["args"] == wanted


def test_helm_test_fails_at_the_first_pod_that_is_not_ready(tmp_path: Path) -> None:
    (test,) = of_kind(rendered(MINIMAL), "Pod")
    (ready,) = [container for container in test["spec"]["containers"] if container["name"] == "ready"]
    (tmp_path / "ready").touch()
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        program = [sys.executable, *ready["command"][1:]]
        well, ill = (
            subprocess.run([*program, *urls], capture_output=True, text=True, check=False)
            for urls in ((f"{base}/ready",), (f"{base}/ready", f"{base}/other"))
        )
        server.shutdown()
    assert (well.returncode, well.stdout) == (0, f"{base}/ready 200\n")
    assert ill.returncode == 1
    assert ill.stdout == f"{base}/ready 200\n{base}/other "


def checksum(component: str, *settings: str) -> Any:
    template = named(rendered(MINIMAL, *settings), "StatefulSet", component)["spec"]["template"]
    return template["metadata"]["annotations"]["checksum/config"]


def test_a_changed_setting_restarts_whom_it_concerns() -> None:
    assert checksum("router", 'settings.log_level="DEBUG"') != checksum("router")
    assert checksum("router", 'router.settings.log_level="DEBUG"') != checksum("router")
    assert checksum("router", 'projector.settings.log_level="DEBUG"') == checksum("router")


RULES = yaml.safe_load((HELM / "rules/broker-events.yaml").read_text(encoding="utf-8"))
RELEASED = f'namespace="{NAMESPACE}",job="{RELEASE}-broker-events"'
SERIES = re.compile(r"\b(?:broker_events[_:]|process_)[\w:]+")


def groups(*settings: str) -> dict[str, list[dict[str, Any]]]:
    (rule,) = of_kind(rendered(FULL, *settings), "PrometheusRule")
    return {group["name"]: group["rules"] for group in rule["spec"]["groups"]}


def test_the_rules_ask_for_this_release_alone() -> None:
    found, (written,) = groups()["broker-events"], RULES["groups"]
    for rule, original in zip(found, written["rules"], strict=True):
        expression = rule["expr"]
        for match in SERIES.finditer(expression):
            assert expression[match.end() :].startswith(f"{{{RELEASED}"), expression
        cronjob = f'namespace="{NAMESPACE}",cronjob="{RELEASE}-broker-events-ledger"'
        bare = expression.replace(f"{{{RELEASED}}}", "").replace(f"{RELEASED},", "")
        assert bare.replace(cronjob, 'cronjob=~".+-ledger"') == original["expr"]
        assert {**rule, "expr": ""} == {**original, "expr": ""}


def test_the_rules_of_a_release_are_valid(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    (rule,) = of_kind(rendered(FULL), "PrometheusRule")
    file.write_text(yaml.safe_dump(rule["spec"]), encoding="utf-8")
    done = promtool("check", "rules", file)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (("router.autoscaling.minReplicas=4",), {"bridge": 1, "router": 4, "projector": 2, "deliver": 2}),
        (
            ("router.autoscaling.enabled=false", "router.replicas=3", "projector.enabled=false"),
            {"bridge": 1, "router": 3, "projector": 0, "deliver": 2},
        ),
    ],
)
def test_the_expected_workers_are_those_of_the_release(settings: tuple[str, ...], expected: dict[str, int]) -> None:
    labels = {"namespace": NAMESPACE, "job": f"{RELEASE}-broker-events"}
    assert groups(*settings)["broker-events-expected"] == [
        {"record": "broker_events:expected_workers", "expr": f"vector({count})", "labels": {**labels, "role": role}}
        for role, count in expected.items()
    ]


def test_alerts_and_board_lead_to_the_runbook_that_is_set() -> None:
    url = "https://wiki.example.com/runbook"
    setting = f'monitoring.runbookUrl="{url}"'
    for rule in groups(setting)["broker-events"]:
        if "alert" in rule:
            assert rule["annotations"]["runbook_url"] == f"{url}#{rule['alert'].lower()}"
    assert f'"{url}"' in board(setting)
    assert "github.com" not in board(setting)


def board(*settings: str) -> str:
    (found,) = [
        m for m in of_kind(rendered(FULL, *settings), "ConfigMap") if m["metadata"]["name"].endswith("-dashboard")
    ]
    return str(found["data"]["broker-events.json"])


def test_the_board_is_the_file_that_compose_mounts() -> None:
    assert board().strip() == (HELM / "boards/broker-events.json").read_text(encoding="utf-8").strip()


def test_targets_are_named_by_release_and_pod() -> None:
    (monitor,) = of_kind(rendered(FULL), "ServiceMonitor")
    (endpoint,) = monitor["spec"]["endpoints"]
    by_target = {each["targetLabel"]: each for each in endpoint["relabelings"]}
    assert by_target["job"]["replacement"] == f"{RELEASE}-broker-events"
    assert by_target["instance"]["sourceLabels"] == ["__meta_kubernetes_pod_name"]
    assert endpoint["scrapeTimeout"] == "10s"
    assert endpoint["metricRelabelings"]


def test_a_ledger_runs_every_night() -> None:
    (found,) = of_kind(rendered(FULL), "CronJob")
    assert found["metadata"]["name"] == f"{RELEASE}-broker-events-ledger"
    assert not of_kind(rendered(MINIMAL), "CronJob")
    spec = found["spec"]["jobTemplate"]["spec"]
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"] == [1, 2, 3]
    (container,) = spec["template"]["spec"]["containers"]
    assert container["args"][0] == "ledger"
    names = {entry["name"]: entry for entry in container["env"]}
    assert names["PIPELINE_KAFKA_SASL_PASSWORD"]["valueFrom"]["secretKeyRef"]["name"] == "kafka-operator"


def test_a_command_is_a_job_of_its_own() -> None:
    assert [m["metadata"]["name"] for m in of_kind(rendered(MINIMAL), "Job")] == [f"{RELEASE}-broker-events-setup"]
    manifests = rendered(MINIMAL, 'command.args=["quarantine", "replay", "--all", "--yes"]', 'command.name="replay"')
    job = named(manifests, "Job", "command")
    assert job["metadata"]["name"] == f"{RELEASE}-broker-events-replay"
    kubernetes_validate.validate(job, "1.34", strict=True)
    (container,) = job["spec"]["template"]["spec"]["containers"]
    parse(container["args"])
    labels = job["spec"]["template"]["metadata"]["labels"]
    policy = named(manifests, "NetworkPolicy", "command")["spec"]
    assert selects(policy["podSelector"]["matchLabels"], labels)
    assert "ingress" not in policy


def test_a_secret_s_change_can_restart_every_workload() -> None:
    for manifest in of_kind(rendered(FULL), "StatefulSet", "Deployment"):
        assert manifest["metadata"]["annotations"] == {"reloader.stakater.com/auto": "true"}


def test_volumes_and_sidecars_are_added() -> None:
    sidecar = '{"name": "agent", "image": "agent:1.2.3"}'
    settings = [
        'pod.extraVolumes=[{"name": "vault", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": true}}]',
        'pod.extraVolumeMounts=[{"name": "vault", "mountPath": "/vault", "readOnly": true}]',
        f"projector.pod.extraContainers=[{sidecar}]",
    ]
    manifests = rendered(MINIMAL, *settings)
    for _, spec in pods(manifests):
        assert "vault" in [volume["name"] for volume in spec["volumes"]]
        for container in containers(spec):
            if container["name"] != "agent":
                assert "/vault" in [mount["mountPath"] for mount in container["volumeMounts"]]
    for component, count in {"router": 1, "projector": 2}.items():
        spec = named(manifests, "StatefulSet", component)["spec"]["template"]["spec"]
        assert len(spec["containers"]) == count


def test_state_on_disk_is_a_claim_or_a_disk_of_the_node() -> None:
    for emptied in ("true", "false"):
        manifests = rendered(MINIMAL, "projector.state.enabled=true", f"projector.state.emptyDir={emptied}")
        spec = named(manifests, "StatefulSet", "projector")["spec"]
        claims = [claim["metadata"]["name"] for claim in spec.get("volumeClaimTemplates", [])]
        volumes = [volume["name"] for volume in spec["template"]["spec"]["volumes"]]
        assert [*claims, *volumes].count("state") == 1
        assert ("state" in volumes) == (emptied == "true")
        (container,) = spec["template"]["spec"]["containers"]
        assert {"name": "state", "mountPath": "/state"} in container["volumeMounts"]
        assert {"name": "PIPELINE_STATE_FOLDER", "value": "/state"} in container["env"]
    spec = named(rendered(MINIMAL), "StatefulSet", "projector")["spec"]
    assert "volumeClaimTemplates" not in spec
    assert "/state" not in str(spec)


def test_every_pod_has_a_network_policy_of_its_own() -> None:
    for values in (MINIMAL, FULL):
        manifests = rendered(values)
        policies = {component_of(m): m["spec"] for m in of_kind(manifests, "NetworkPolicy")}
        for metadata, _ in pods(manifests):
            component = metadata["labels"]["app.kubernetes.io/component"]
            assert selects(policies["deny"]["podSelector"]["matchLabels"], metadata["labels"])
            assert selects(policies[component]["podSelector"]["matchLabels"], metadata["labels"])
        assert policies["deny"].keys() == {"podSelector", "policyTypes"}
        for policy in policies.values():
            assert policy["policyTypes"] == ["Ingress", "Egress"]


@pytest.mark.parametrize(
    ("values", "component", "expected"),
    [
        (MINIMAL, "router", [{53}, {9092}, {8081}]),
        (MINIMAL, "bridge", [{53}, {9092}, {8081}, {443}]),
        (SIMULATOR, "bridge", [{53}, {9092}, {8080}, {7010}]),
        (FULL, "projector", [{5353}, {9093}, {443}]),
        (FULL, "deliver", [{5353}, {9093}, {443}, {9093}]),
        (FULL, "command", [{5353}, {9093}, {443}]),
    ],
    ids=lambda value: value.stem if isinstance(value, Path) else None,
)
def test_network_policies_follow_the_addresses_in_the_settings(
    values: Path, component: str, expected: list[set[int]]
) -> None:
    egress = named(rendered(values), "NetworkPolicy", component)["spec"]["egress"]
    assert [{port["port"] for port in rule["ports"]} for rule in egress] == expected


def test_network_policies_know_the_addresses_that_are_given() -> None:
    egress = named(rendered(FULL), "NetworkPolicy", "router")["spec"]["egress"]
    assert egress[1]["to"] == [{"ipBlock": {"cidr": "10.20.0.0/16"}}]


def test_policy_lint(values: Path, tmp_path: Path) -> None:
    file = tmp_path / "manifests.yaml"
    native = [m for m in rendered(values, *SWITCHED_ON) if m["apiVersion"] not in CUSTOM]
    file.write_text(yaml.safe_dump_all(native), encoding="utf-8")
    ignored = [word for name in sorted(NOT_WANTED) for word in ("--ignore-test", name)]
    score = [str(go_tools.find(go_tools.KUBE_SCORE)), "score", "--output-format", "ci", *ignored, str(file)]
    done = subprocess.run(score, capture_output=True, text=True, check=False)
    critical = [line for line in done.stdout.splitlines() if line.startswith("[CRITICAL]")]
    assert not critical, "\n".join(critical)


def test_receivers_and_their_secrets_are_mounted() -> None:
    spec = named(rendered(FULL), "StatefulSet", "deliver")["spec"]["template"]["spec"]
    volume = {"name": "receiver-risk-desk"}
    sources = {"defaultMode": 0o440, "sources": [{"secret": {"name": "risk-desk"}}]}
    assert volume | {"projected": sources} in spec["volumes"]
    mounts = spec["containers"][0]["volumeMounts"]
    assert volume | {"mountPath": "/etc/receivers/risk-desk", "readOnly": True} in mounts
    settings = named(rendered(FULL), "ConfigMap", "deliver")["data"]
    assert settings["PIPELINE_DELIVERY_RECEIVERS"] == "/etc/broker-events/delivery_receivers"


def test_deliver_needs_its_receivers() -> None:
    assert "deliver.files.delivery_receivers" in refusal(MINIMAL, "deliver.enabled=true")
