"""A worker that signs in, and may do exactly what the table of docs/how-to/cluster.md grants, and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from pydantic import SecretStr

from stream_app.broker import EmbeddedBroker
from stream_app.broker.ports import HOST, free_port
from stream_app.doctor.rights import check_rights
from stream_app.kafka import client_options
from stream_app.lag import measure_lag
from stream_app.records import decode_reject
from stream_app.settings import Settings
from tests.stream_app import harness, shop
from tests.stream_app.shop import REAL_WORKER, Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "cluster.md"
USER = "worker"
PASSWORD = "of this test"  # noqa: S105 - made up
KINDS = {
    "topics": ResourceType.TOPIC,
    "groups": ResourceType.GROUP,
    "transactional ids": ResourceType.TRANSACTIONAL_ID,
}
OPERATIONS = {
    "Read": AclOperation.READ,
    "Write": AclOperation.WRITE,
    "Describe": AclOperation.DESCRIBE,
    "DescribeConfigs": AclOperation.DESCRIBE_CONFIGS,
}


def documented_rights() -> list[AclBinding]:
    """Return what the table on the page grants, word for word."""
    rows = re.findall(r"^\| (topics|groups|transactional ids) ([^|]+) \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) >= len(KINDS)
    bindings = []
    for kind, names, operations in rows:
        prefixed = names.endswith("(prefixed)")
        pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
        for name in re.findall(r"`([^`]+)`", names):
            assert name.endswith("*") == prefixed
            bindings += [
                AclBinding(
                    KINDS[kind],
                    name.removesuffix("*"),
                    pattern,
                    f"User:{USER}",
                    "*",
                    OPERATIONS[operation],
                    AclPermissionType.ALLOW,
                )
                for operation in operations.split(", ")
            ]
    return bindings


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Settings, Settings]]:
    """Return settings of who may do everything, and of the worker's user, at a broker with SCRAM and an authorizer."""
    home = tmp_path_factory.mktemp("secured")
    port, signed_in, controller = free_port(), free_port(), free_port()
    public = f"PLAINTEXT://{HOST}:{port},SASL_PLAINTEXT://{HOST}:{signed_in}"
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    properties = {
        "listeners": f"{public},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": public,
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "listener.security.protocol.map": ("PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT"),
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config": login,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    with EmbeddedBroker(home / "broker", port, properties=properties) as broker:
        everything = Settings(
            bootstrap_servers=broker.bootstrap_servers, state_dir=home / "state", web_port=free_port()
        )
        worker = everything.model_copy(
            update={
                "bootstrap_servers": f"{HOST}:{signed_in}",
                "security_protocol": "SASL_PLAINTEXT",
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_username": USER,
                "sasl_password": SecretStr(PASSWORD),
            }
        )
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        for future in admin.alter_user_scram_credentials(
            [UserScramCredentialUpsertion(USER, credential, PASSWORD.encode())]
        ).values():
            future.result(30)
        harness.make_topics(everything)
        yield everything, worker


def grant(settings: Settings, bindings: list[AclBinding]) -> None:
    """Give rights, as who may do everything."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    for future in admin.create_acls(bindings).values():
        future.result(30)


def streamed(settings: Settings) -> dict[str, Any]:
    """Return what the page is sent: the newest of each kind, once slates, rejects and the state have come."""
    found: dict[str, Any] = {}
    url = f"http://127.0.0.1:{settings.web_port}/events/stream"
    with urllib.request.urlopen(url, timeout=60) as stream:
        kind = ""
        for line in stream:
            if line.startswith(b"event: "):
                kind = line[7:].strip().decode()
            elif line.startswith(b"data: ") and (value := json.loads(line[6:])):
                found[kind] = value
                if {"slates", "rejects", "state"} <= found.keys():
                    break
    return found


def test_the_documented_rights_are_what_a_worker_needs(secured: tuple[Settings, Settings], tmp_path: Path) -> None:
    """Without rights nothing is let in; with the table's it learns, publishes, rejects and serves its page."""
    everything, settings = secured
    assert client_options(settings)["sasl_mechanism"] == "SCRAM-SHA-512"
    assert "error" in {finding.severity for finding in asyncio.run(check_rights(settings))}
    grant(everything, documented_rights())
    harness.wait_for(
        lambda: [f.severity for f in asyncio.run(check_rights(settings))] == ["ok"], "the rights to be known"
    )
    market = Shop()
    harness.send(everything, [*shop.catalogue(), (b"item-1", b"no JSON")], topic=everything.topic_catalog)
    with harness.Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        shop.wait_ready(worker)
        for _ in range(3):
            harness.send(everything, market.events(60))
            shop.wait_learned(everything, market.n_events, worker)
        harness.send(everything, [(b"user-1", b"no JSON either"), *market.events(20)])
        shown = streamed(settings)
        assert {reject["code"] for reject in shown["rejects"]} == {"not_json"}
        harness.wait_for(
            lambda: {r.topic for r in rejected(everything)} == {everything.topic_events, everything.topic_catalog},
            "the event and the catalogue record to be rejected",
        )
        harness.wait_for(
            lambda: bool(harness.read_committed(everything, everything.topic_policy_state)),
            "the policy to be published",
        )
        shop.wait_learned(everything, market.n_events, worker)
        harness.wait_for(
            lambda: {lag.lag_events for lag in asyncio.run(measure_lag(settings))} == {0}, "the groups to be at the end"
        )
        assert worker.terminate() == 0
        log = worker.log
    shop.check_learned_once(everything, market)
    assert "uthoriz" not in log


def rejected(settings: Settings) -> list[Any]:
    """Return all rejects."""
    return [decode_reject(record) for record in harness.read_committed(settings, settings.topic_rejects)]
