"""The workflows: as GitHub reads them, with pinned actions and few rights; the scripts that they run."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any, Final

import go_tools
import pytest
import yaml
from test_compose import services

pytestmark = pytest.mark.timeout(900)

ROOT: Final = Path(__file__).parents[2]
WORKFLOWS: Final = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
SMOKE: Final = (ROOT / ".ci" / "smoke").read_text(encoding="utf-8")


def jobs(path: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["jobs"]
    return found


def comments_on_a_pull_request(job: dict[str, Any]) -> bool:
    """Whether the token is seen by one step alone, which runs gh and no code of the change."""
    (step,) = [step for step in job["steps"] if "GH_TOKEN" in step.get("env", {})]
    return str(step["run"]).startswith("gh pr comment ")


def test_actionlint() -> None:
    program = go_tools.find(go_tools.ACTIONLINT)
    done = subprocess.run([program, *WORKFLOWS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_rights_are_few(path: Path) -> None:
    assert yaml.safe_load(path.read_text(encoding="utf-8"))["permissions"] == {}
    for job in jobs(path).values():
        assert job["timeout-minutes"] <= 60
        assert {"contents", "pull-requests"} >= job["permissions"].keys()
        assert job["permissions"].get("pull-requests") is None or comments_on_a_pull_request(job)
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40}", step["uses"])
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


def test_what_needs_docker_runs_there() -> None:
    found = jobs(ROOT / ".github/workflows/check.yml")
    assert found["compose"]["steps"][-1]["run"] == ".ci/smoke"
    assert found["containers"]["steps"][-1] == {"run": "make test-broker", "env": {"TEST_BROKER": "testcontainers"}}


@pytest.mark.parametrize("script", ["run", "smoke"])
def test_a_script_is_executable_and_can_be_read(script: str) -> None:
    path = ROOT / ".ci" / script
    assert path.stat().st_mode & 0o111
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)  # noqa: S607
    assert done.returncode == 0, done.stderr


def test_the_smoke_test_asks_for_ports_and_services_that_exist() -> None:
    published = {int(port["published"]) for service in services().values() for port in service.get("ports", [])}
    assert {int(port) for port in re.findall(r"127\.0\.0\.1:(\d+)", SMOKE)} <= published
    assert {*re.findall(r"docker compose stop (\w+)|ps --quiet (\w+)", SMOKE)} <= {("bridge", ""), ("", "router")}
