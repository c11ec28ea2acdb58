"""A real kube-apiserver with etcd on 127.0.0.1: it judges objects as a cluster does, and nothing runs on it."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import go_tools
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from broker_events.devstack.java import free_ports

TOKEN: Final = "only-here"  # noqa: S105 (the server lives as long as the tests)
READY_TIMEOUT_S: Final = 60.0

Object = dict[str, Any]


class Refused(Exception):
    """The API server does not take an object; the text is its reason."""


@dataclass(frozen=True)
class Answer:
    body: Object
    warnings: list[str]


class ApiServer:
    """Requests to a running server."""

    def __init__(self, port: int) -> None:
        self.url = f"https://127.0.0.1:{port}"
        self._trust = ssl.create_default_context()
        self._trust.check_hostname = False
        self._trust.verify_mode = ssl.CERT_NONE  # made for this run, by the server itself

    @property
    def helm_options(self) -> tuple[str, ...]:
        return ("--kube-apiserver", self.url, "--kube-insecure-skip-tls-verify", "--kube-token", TOKEN)

    def request(self, method: str, path: str, body: Object | None = None) -> Answer:
        """Ask the server; raises Refused for any answer but 2xx."""
        kind = "application/apply-patch+yaml" if method == "PATCH" else "application/json"
        request = urllib.request.Request(  # noqa: S310 (https by construction)
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": kind},
        )
        try:
            with urllib.request.urlopen(request, timeout=30, context=self._trust) as answer:  # noqa: S310
                return Answer(json.loads(answer.read() or b"{}"), answer.headers.get_all("Warning") or [])
        except urllib.error.HTTPError as error:
            raise Refused(json.loads(error.read()).get("message", str(error))) from None

    def path(self, manifest: Object) -> str:
        """Where objects of this kind and namespace are."""
        version, kind = manifest["apiVersion"], manifest["kind"]
        group = f"/apis/{version}" if "/" in version else f"/api/{version}"
        resources = self.request("GET", group).body["resources"]
        (resource,) = [r for r in resources if r["kind"] == kind and "/" not in r["name"]]
        space = f"/namespaces/{manifest['metadata']['namespace']}" if resource["namespaced"] else ""
        return f"{group}{space}/{resource['name']}"

    def try_out(self, manifest: Object) -> Answer:
        """Apply an object without keeping it: all of validation and admission. Raises Refused."""
        where = f"{self.path(manifest)}/{manifest['metadata']['name']}"
        return self.request("PATCH", f"{where}?dryRun=All&fieldManager=tests&fieldValidation=Strict", manifest)

    def create(self, manifest: Object) -> None:
        self.request("POST", self.path(manifest), manifest)

    def is_ready(self) -> bool:
        try:
            self.request("GET", "/api/v1")
        except (Refused, OSError):
            return False
        return True


@contextmanager
def running(folder: Path) -> Iterator[ApiServer]:
    """Start etcd and the API server with their data in `folder`; both end with the block."""
    programs = go_tools.build(go_tools.ETCD), go_tools.build(go_tools.API_SERVER)
    clients, peers, port = free_ports(3)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "accounts.key").write_bytes(private)
    (folder / "tokens.csv").write_text(f'{TOKEN},tests,1,"system:masters"\n', encoding="utf-8")
    store, peer = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
    etcd: list[str | Path] = [programs[0], "--data-dir", folder / "etcd", "--unsafe-no-fsync"]
    etcd += ["--listen-client-urls", store, "--advertise-client-urls", store]
    etcd += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}"]
    server: list[str | Path] = [programs[1], f"--etcd-servers={store}", f"--cert-dir={folder / 'certificates'}"]
    server += ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={port}"]
    server += ["--service-account-issuer=https://kubernetes.default.svc", "--endpoint-reconciler-type=none"]
    server += [f"--service-account-{what}-file={folder / 'accounts.key'}" for what in ("signing-key", "key")]
    server += ["--authorization-mode=AlwaysAllow", f"--token-auth-file={folder / 'tokens.csv'}"]
    server += ["--service-cluster-ip-range=10.0.0.0/24", "--disable-admission-plugins=ServiceAccount"]
    with (folder / "etcd.log").open("wb") as etcd_log, (folder / "apiserver.log").open("wb") as server_log:
        processes = [
            subprocess.Popen(etcd, stdout=etcd_log, stderr=subprocess.STDOUT),
            subprocess.Popen(server, stdout=server_log, stderr=subprocess.STDOUT),
        ]
        try:
            api = ApiServer(port)
            deadline = time.monotonic() + READY_TIMEOUT_S
            while not api.is_ready():
                ended = any(process.poll() is not None for process in processes)
                assert not ended and time.monotonic() < deadline, f"it did not start; its logs are in {folder}"  # noqa: PT018
                time.sleep(0.2)
            yield api
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait(30)
