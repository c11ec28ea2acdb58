"""What a subscriber installs: the wheel without an extra in an empty environment, and README's Python example."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kafka_cluster import KafkaCluster
from pipeline_processes import Pipeline, credit

from broker_events.schemas.catalog import load_catalog

ROOT = Path(__file__).parents[2]
SITE_PACKAGES_MB = 110
DISTRIBUTIONS = {
    "annotated-types",
    "anyio",
    "attrs",
    "authlib",
    "broker-events",
    "cachetools",
    "certifi",
    "cffi",
    "confluent-kafka",
    "cryptography",
    "fastavro",
    "h11",
    "httpcore2",
    "httpx2",
    "idna",
    "joserfc",
    "pycparser",
    "pydantic",
    "pydantic-core",
    "truststore",
    "typing-extensions",
    "typing-inspection",
}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the interpreter of an environment that has the wheel, built without a compiler, and what it requires."""
    folder = tmp_path_factory.mktemp("subscriber")
    sources = folder / "sources"
    ignored = shutil.ignore_patterns(".*", "*.so", "target", "build", "dist", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, sources, symlinks=True, ignore=ignored)
    wheel = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(sources)]
    without_cargo = {"CARGO": "/nonexistent", "PATH": "/usr/bin:/bin", "HOME": str(folder)}
    run([sys.executable, "-m", "pip", *wheel], without_cargo)
    run([sys.executable, "-m", "venv", str(folder / "environment")])
    interpreter = folder / "environment" / "bin" / "python"
    (built,) = folder.glob("*.whl")
    assert built.name.endswith("-py3-none-any.whl"), "a wheel without native code must not be taken for a native one"
    constraints = folder / "constraints.txt"  # the locked versions, as pip wants hashes for a local wheel otherwise
    locked = re.findall(
        r"^[a-z0-9._-]+==[^ ;]+", (ROOT / "requirements.lock").read_text(encoding="utf-8"), re.MULTILINE
    )
    constraints.write_text("\n".join(locked), encoding="utf-8")
    run([str(interpreter), "-m", "pip", "install", "--constraint", str(constraints), str(built)])
    return interpreter


def run(command: list[str], variables: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_one_import_name_and_few_packages(python: Path) -> None:
    code = "import importlib.metadata as m; print(*(d.name.lower().replace('_', '-') for d in m.distributions()))"
    installed = set(run([str(python), "-I", "-c", code]).split()) - {"pip", "setuptools"}
    assert installed == DISTRIBUTIONS
    site_packages = next(python.parents[1].glob("lib/python*/site-packages"))
    size = sum(path.stat().st_size for path in site_packages.rglob("*") if path.is_file())
    assert size < SITE_PACKAGES_MB * 1e6
    (record,) = site_packages.glob("broker_events-*.dist-info/RECORD")
    names = {line.split("/")[0] for line in record.read_text().splitlines()}
    assert {name for name in names if not name.startswith(("broker_events-", ".."))} == {"broker_events"}
    assert (site_packages / "broker_events" / "py.typed").exists()


def test_the_wheel_codes_every_schema(python: Path) -> None:
    count = sum(contract.schema is not None for contract, _ in load_catalog().topics.values())
    assert f"{count} schemas" in run([str(python), "-I", str(ROOT / "tests" / "wheel.py"), "python"])


def test_a_command_names_the_missing_extra(python: Path) -> None:
    done = subprocess.run([python.with_name("broker-events"), "router"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith("Run: pip install 'broker-events[workers]'\n")
    assert done.stderr.count("\n") == 1


def test_the_readme_example_decodes(cluster: KafkaCluster, topic_prefix: str, tmp_path: Path, python: Path) -> None:
    pipeline = Pipeline(cluster, topic_prefix, tmp_path).made()
    transfer = credit("t-1", account=None, account_id="ACC-1", biz_type="TRANSFER", amount="0.300000000000000001")
    with pipeline.worker("router"):
        pipeline.produce("raw", transfer, "ACC-1")
        pipeline.wait_for("event.transfer", 1)
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    settings = pipeline.settings
    for written, meant in (
        ("http://registry:8081", settings.schema_registry_url),
        ("kafka:9092", settings.kafka_bootstrap_servers),
        ("broker.event.transfer", settings.topic("event.transfer")),
    ):
        assert written in example
        example = example.replace(written, meant)
    program = subprocess.Popen(
        [python, "-u", "-I", "-c", example], env=os.environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert program.stdout is not None
        assert program.stdout.readline() == "ACC-1 0.300000000000000001 USD COMPLETED\n"
    finally:
        program.kill()
        program.wait()
