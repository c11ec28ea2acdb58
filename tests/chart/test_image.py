"""The image: its Dockerfile is sound, and the steps that it runs give a program that works."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from broker_events.cli.main import COMMANDS
from broker_events.runtime.process.health import Health, HealthServer
from broker_events.runtime.process.metrics import Metrics
from broker_events.schemas.catalog import load_catalog

pytestmark = pytest.mark.timeout(900)

ROOT: Final = Path(__file__).parents[2]
DOCKERFILE: Final = ROOT / "Dockerfile"
INSTALLED_TO: Final = "/opt/broker-events"
# What the commands import when they run.
MODULES: Final = (
    "broker_events.ingest.worker",
    "broker_events.processors.router",
    "broker_events.processors.projector",
    "broker_events.devstack.simulator.simulator",
)


@dataclass(frozen=True)
class Instruction:
    name: str
    text: str


def stages() -> list[list[Instruction]]:
    """The Dockerfile's instructions, stage by stage, each with its continuation lines."""
    found: list[list[Instruction]] = []
    lines = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines():
        if line:
            name, _, text = line.partition(" ")
            if name == "FROM":
                found.append([])
            found[-1].append(Instruction(name, text))
    return found


def last_stage(name: str) -> list[str]:
    return [instruction.text for instruction in stages()[-1] if instruction.name == name]


def test_lint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_bases_are_pinned() -> None:
    bases = {stage[0].text.split(" AS ")[0] for stage in stages()}
    assert len(bases) == 1, "the virtual environment needs the interpreter that it was made with"
    assert re.fullmatch(r"python:\d+\.\d+\.\d+-slim-[a-z]+", bases.pop())


def test_the_last_stage_only_copies() -> None:
    names = {instruction.name for instruction in stages()[-1]}
    assert "RUN" not in names
    assert last_stage("COPY") == [
        f"--from=build {INSTALLED_TO} {INSTALLED_TO}",
        "--from=build --chown=10001:10001 /build/state /state",
    ]
    assert last_stage("USER") == ["10001:10001"]
    assert last_stage("ENTRYPOINT") == ['["broker-events"]']


def test_everything_is_installed_with_hashes() -> None:
    installs = [
        command
        for instruction in stages()[0]
        if instruction.name == "RUN"
        for command in instruction.text.split(" && ")
        if re.match(r"pip .*install", command)
    ]
    assert len(installs) == 3
    for command in installs:
        assert "--require-hashes" in command or "--no-index" in command


@pytest.mark.parametrize(("alive", "code"), [(True, 0), (False, 1)])
def test_health_check(alive: bool, code: int) -> None:  # noqa: FBT001 (a parameter of the test)
    health = Health()
    health.beat(60 if alive else -1)
    (check,) = last_stage("HEALTHCHECK")
    command = re.search(r"CMD (\[.*\])", check)
    assert command is not None
    words = [word.encode().decode("unicode_escape") for word in re.findall(r'"((?:[^"\\]|\\.)*)"', command.group(1))]
    server = HealthServer("127.0.0.1", 0, Metrics(), health)
    server.start()
    try:
        done = subprocess.run(
            [sys.executable, *words[1:]],
            env={"PIPELINE_HTTP_PORT": str(server.port)},
            capture_output=True,
            check=False,
        )
    finally:
        server.stop()
    assert done.returncode == code


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the build stage installs to, made by its own commands in an empty folder; without apt-get."""
    if shutil.which("cargo") is None:
        pytest.skip("the image's steps need cargo, a Rust compiler, as its build stage has")
    folder = tmp_path_factory.mktemp("image")
    work, target = folder / "build", folder / "program"
    work.mkdir()
    subprocess.run([sys.executable, "-m", "venv", folder / "base"], check=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.so", "target")
    for instruction in stages()[0]:
        if instruction.name == "COPY":
            *sources, destination = instruction.text.split()
            for source in sources:
                if (ROOT / source).is_dir():
                    shutil.copytree(ROOT / source, work / destination, ignore=ignored)
                else:
                    shutil.copy(ROOT / source, work / source)
        elif instruction.name == "RUN" and "apt-get" not in instruction.text:
            done = subprocess.run(
                ["/bin/sh", "-ec", instruction.text.replace(INSTALLED_TO, str(target))],
                cwd=work,
                env={
                    "PATH": f"{folder}/base/bin:{_path_of('cargo')}:/usr/bin:/bin",
                    "HOME": str(Path.home()),
                    "CARGO_TARGET_DIR": str(ROOT / "native/target"),  # what others depend on is compiled there
                },
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{instruction.text}\n{done.stdout}{done.stderr}"
    return target


def _path_of(program: str) -> Path:
    return Path(shutil.which(program) or program).parent


def run(program: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program / "bin" / words[0], *words[1:]], cwd="/", capture_output=True, text=True, check=False
    )


def test_the_steps_install_the_program(program: Path) -> None:
    assert "broker-events, version" in run(program, "broker-events", "--version").stdout
    for name in COMMANDS:
        done = run(program, "broker-events", name, "--help")
        assert done.returncode == 0, done.stderr


def test_the_contracts_are_in_it(program: Path) -> None:
    code = "from broker_events.schemas.catalog import load_catalog; print(*load_catalog().topics)"
    assert run(program, "python", "-c", code).stdout.split() == [*load_catalog().topics]


def test_tools_for_building_are_not_in_it(program: Path) -> None:
    code = "import importlib.util as u; print([n for n in ('pip', 'setuptools', 'pytest', 'jgo') if u.find_spec(n)])"
    assert run(program, "python", "-c", code).stdout.strip() == "[]"


@pytest.mark.parametrize("module", MODULES)
def test_all_that_is_imported_is_there(program: Path, module: str) -> None:
    done = run(program, "python", "-c", f"import {module}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["run", "stack"])
def test_what_needs_more_says_so(program: Path, name: str) -> None:
    done = run(program, "broker-events", name)
    assert done.returncode == 2
    assert "pip install 'broker-events[stack]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
