"""docker-compose.yml and Dockerfile, as far as they can be checked without an engine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stream_app.broker.ports import free_port
from stream_app.settings import Settings
from tests.stream_app.test_direct import answering

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    """Return the file, parsed."""
    parsed: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return parsed


def test_services(compose: dict[str, Any]) -> None:
    """Kafka in KRaft mode, the topics, two workers with stores of their own, and Prometheus."""
    services = compose["services"]
    assert {"kafka", "topics", "worker-1", "worker-2", "prometheus"} <= set(services)
    kafka = services["kafka"]["environment"]
    assert kafka["KAFKA_PROCESS_ROLES"] == "broker,controller"
    assert "KAFKA_ZOOKEEPER_CONNECT" not in kafka
    assert services["worker-1"]["volumes"] != services["worker-2"]["volumes"]
    for volume in services["worker-1"]["volumes"] + services["worker-2"]["volumes"]:
        assert volume.split(":")[0] in compose["volumes"]
    inside = f"kafka:{kafka['KAFKA_LISTENERS'].split('INSIDE://:')[1].split(',')[0]}"
    for name in ("topics", "worker-1", "worker-2"):
        assert services[name]["environment"]["CROSSAISLE_BOOTSTRAP_SERVERS"] == inside


def test_ports_are_published_on_this_machine_alone(compose: dict[str, Any]) -> None:
    """Nobody else reaches Kafka, which asks for no password, nor anything else."""
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert any(port.endswith(":9092") for port in ports)
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_a_worker_is_asked_for_its_health_directly(compose: dict[str, Any]) -> None:
    """The command finds a worker past the proxy that Docker may name, and fails where none answers."""
    _, python, *arguments, code = compose["services"]["worker-1"]["healthcheck"]["test"]
    port = Settings.model_fields["web_port"].default
    assert python == "python"
    assert f"//127.0.0.1:{port}/health/live" in code
    for answer, is_well in ((b"HTTP/1.0 200 OK\r\n\r\n", True), (b"HTTP/1.0 503 Unavailable\r\n\r\n", False)):
        with answering(answer) as url:
            command = [sys.executable, *arguments, code.replace(f"http://127.0.0.1:{port}/", url)]
            environment = {**os.environ, "http_proxy": f"http://127.0.0.1:{free_port()}", "no_proxy": ""}
            done = subprocess.run(command, env=environment, capture_output=True, check=False)
        assert (done.returncode == 0) is is_well, done.stderr


def test_prometheus_scrapes_the_workers(compose: dict[str, Any]) -> None:
    """Its targets are the workers' web port."""
    scrape = yaml.safe_load(compose["configs"]["prometheus"]["content"])["scrape_configs"][0]
    port = Settings.model_fields["web_port"].default
    assert scrape["static_configs"][0]["targets"] == [f"worker-1:{port}", f"worker-2:{port}"]


@pytest.mark.parametrize("name", ["docker-compose.yml", "Dockerfile"])
def test_variables_are_settings(name: str) -> None:
    """Every CROSSAISLE_ variable in it is one that Settings reads."""
    found = re.findall(r"CROSSAISLE_([A-Z_]+)", (ROOT / name).read_text())
    assert found
    assert {variable.lower() for variable in found} <= set(Settings.model_fields)
