"""A secured broker: a listener of each kind, users with passwords, and an authorizer that grants them nothing yet."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
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
from stream_app.settings import Settings
from tests.stream_app import harness

CERTIFICATES = Path(__file__).parent / "certificates"
LISTENERS = {
    "PLAINTEXT": "PLAINTEXT",
    "SASL": "SASL_PLAINTEXT",
    "TLS": "SSL",
    "SASL-TLS": "SASL_SSL",
    "MUTUAL": "SSL",
    "EXPIRED": "SSL",
    "OTHER-NAME": "SSL",
    "CONTROLLER": "PLAINTEXT",
}
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
    """Return what the table of the worker's rights grants, word for word."""
    rows = re.findall(r"^\| (topics|groups|transactional ids) ([^|]+) \| ([^|]+) \|$", PAGE.read_text(), re.MULTILINE)
    assert len(rows) >= len(KINDS)
    return [binding for row in rows for binding in _bindings(USER, *row)]


def documented_users() -> dict[str, list[AclBinding]]:
    """Return what the table of others' rights grants, by the command that they run."""
    row = r"^\| `crossaisle (\w+)`[^|]* \| (topics?|groups?) ([^|]+) \| ([^|]+) \|$"
    found: dict[str, list[AclBinding]] = {}
    for command, kind, names, operations in re.findall(row, PAGE.read_text(), re.MULTILINE):
        found.setdefault(command, []).extend(_bindings(command, f"{kind.rstrip('s')}s", names, operations))
    assert found.keys() >= {"produce", "watch", "lag"}
    return found


def _bindings(user: str, kind: str, names: str, operations: str) -> list[AclBinding]:
    prefixed = names.endswith("(prefixed)")
    pattern = ResourcePatternType.PREFIXED if prefixed else ResourcePatternType.LITERAL
    bindings = []
    for name in re.findall(r"`([^`]+)`", names):
        assert name.endswith("*") == prefixed
        bare = name.removesuffix("*")
        for operation in operations.split(", "):
            allowed = (f"User:{user}", "*", OPERATIONS[operation], AclPermissionType.ALLOW)
            bindings.append(AclBinding(KINDS[kind], bare, pattern, *allowed))
    return bindings


class Secured(NamedTuple):
    """A broker with an authorizer and a listener of each kind."""

    everything: Settings
    """Of who may do everything."""
    worker: Settings
    """Of the worker's user."""
    ports: dict[str, int]
    """By the name of the listener."""

    def at(self, listener: str, protocol: str, **changes: Any) -> Settings:
        """Return settings without credentials for a listener."""
        own = {"bootstrap_servers": f"{HOST}:{self.ports[listener]}", "security_protocol": protocol, **changes}
        return self.everything.model_copy(update=own)


def _properties(ports: dict[str, int]) -> dict[str, str]:
    public = ",".join(f"{name}://{HOST}:{port}" for name, port in ports.items() if name != "CONTROLLER")
    protocols = ",".join(f"{name}:{LISTENERS[name]}" for name in ports)
    properties = {
        "listeners": f"{public},CONTROLLER://{HOST}:{ports['CONTROLLER']}",
        "advertised.listeners": public,
        "controller.quorum.voters": f"1@{HOST}:{ports['CONTROLLER']}",
        "listener.security.protocol.map": protocols,
        "sasl.enabled.mechanisms": "SCRAM-SHA-512",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS;User:CN=client",
        "connection.failed.authentication.delay.ms": "10",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(CERTIFICATES / "broker.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(CERTIFICATES / "ca.pem"),
        "listener.name.mutual.ssl.client.auth": "required",
    }
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
    for name in ("sasl", "sasl-tls"):
        properties[f"listener.name.{name}.scram-sha-512.sasl.jaas.config"] = login
    for name in ("expired", "other-name"):
        properties[f"listener.name.{name}.ssl.keystore.type"] = "PEM"
        properties[f"listener.name.{name}.ssl.keystore.location"] = str(CERTIFICATES / f"{name}.pem")
    return properties


@contextlib.contextmanager
def secured_broker(home: Path) -> Iterator[Secured]:
    """Run a broker with SCRAM, TLS and rights in a folder."""
    ports = {name: free_port() for name in LISTENERS}
    with EmbeddedBroker(home / "broker", ports["PLAINTEXT"], properties=_properties(ports)) as broker:
        everything = Settings(
            bootstrap_servers=broker.bootstrap_servers, state_dir=home / "state", web_port=free_port()
        )
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        credential = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
        users = [
            UserScramCredentialUpsertion(user, credential, PASSWORD.encode()) for user in (USER, *documented_users())
        ]
        for future in admin.alter_user_scram_credentials(users).values():
            future.result(30)
        harness.make_topics(everything)
        worker = signed_in(everything, f"{HOST}:{ports['SASL']}", USER)
        yield Secured(everything, worker, ports)


def signed_in(settings: Settings, address: str, user: str, password: str = PASSWORD) -> Settings:
    """Return settings of a user."""
    return settings.model_copy(
        update={
            "bootstrap_servers": address,
            "security_protocol": "SASL_PLAINTEXT",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": user,
            "sasl_password": SecretStr(password),
        }
    )


def grant(settings: Settings, bindings: list[AclBinding]) -> None:
    """Give rights, as who may do everything."""
    admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
    for future in admin.create_acls(bindings).values():
        future.result(30)


@contextlib.contextmanager
def denied(settings: Settings, kind: ResourceType, name: str, operation: AclOperation) -> Iterator[None]:
    """Take a right away for a while, as who may do everything."""
    prefixed = ResourcePatternType.PREFIXED if name.endswith(".") else ResourcePatternType.LITERAL
    grant(settings, [AclBinding(kind, name, prefixed, f"User:{USER}", "*", operation, AclPermissionType.DENY)])
    try:
        yield
    finally:
        admin = AdminClient({"bootstrap.servers": settings.bootstrap_servers})
        denials = AclBindingFilter(
            ResourceType.ANY,
            None,
            ResourcePatternType.ANY,
            f"User:{USER}",
            None,
            AclOperation.ANY,
            AclPermissionType.DENY,
        )
        for future in admin.delete_acls([denials]).values():
            future.result(30)
