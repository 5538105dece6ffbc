"""A secured broker: whom it refuses and why, and users who may do what docs/how-to/cluster.md grants, nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
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
from stream_app.doctor.rights import check_rights
from stream_app.inspect import UnknownIdError, inspect_totals, inspect_user
from stream_app.kafka import TlsError, client_options
from stream_app.lag import LagError, LagMeter, measure_lag
from stream_app.members import fetch_members
from stream_app.policy_report import NoPolicyError, read_policy
from stream_app.probe import AccessError, Trouble, find_broker, look
from stream_app.processor import StageSpec
from stream_app.produce import produce_records
from stream_app.records import decode_reject
from stream_app.sender import ProduceError
from stream_app.settings import Settings
from stream_app.stage import StageService
from stream_app.topics import check_topics
from stream_app.watch import SlateWatcher, WatchError
from tests.stream_app import harness, shop
from tests.stream_app.shop import REAL_WORKER, Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

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


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Return settings of who may do everything, and of the worker's user, at a broker with SCRAM, TLS and rights."""
    home = tmp_path_factory.mktemp("secured")
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


def test_each_refused_connection_names_its_setting(secured: Secured) -> None:
    """Whatever keeps a client out although the broker is there: it is final, and the remedy names what to set."""
    trusting = {"ssl_cafile": CERTIFICATES / "ca.pem"}
    user = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": USER, "sasl_password": SecretStr(PASSWORD)}
    protocol = "CROSSAISLE_SECURITY_PROTOCOL to {}".format
    cases = [
        (secured.at("SASL", "PLAINTEXT"), protocol("SASL_PLAINTEXT")),
        (secured.at("TLS", "PLAINTEXT"), protocol("SSL")),
        (secured.at("MUTUAL", "PLAINTEXT"), protocol("SSL")),
        (secured.at("SASL-TLS", "PLAINTEXT"), protocol("SASL_SSL")),
        (secured.at("SASL-TLS", "SSL", **trusting), protocol("SASL_SSL")),
        (secured.at("PLAINTEXT", "SSL", **trusting), protocol("PLAINTEXT")),
        (secured.at("SASL", "SSL", **trusting), protocol("SASL_PLAINTEXT")),
        (secured.at("PLAINTEXT", "SASL_PLAINTEXT", **user), protocol("PLAINTEXT")),
        (secured.at("TLS", "SASL_PLAINTEXT", **user), protocol("SSL")),
        (secured.at("SASL", "SASL_PLAINTEXT", **user | {"sasl_password": SecretStr("x")}), "CROSSAISLE_SASL_PASSWORD"),
        (secured.at("SASL", "SASL_PLAINTEXT", **user | {"sasl_mechanism": "PLAIN"}), "CROSSAISLE_SASL_MECHANISM"),
        (secured.at("TLS", "SSL"), "CROSSAISLE_SSL_CAFILE"),
        (secured.at("EXPIRED", "SSL", **trusting), "renew the broker's certificate"),
        (secured.at("OTHER-NAME", "SSL", **trusting), "CROSSAISLE_BOOTSTRAP_SERVERS"),
        (secured.at("MUTUAL", "SSL", **trusting), "CROSSAISLE_SSL_CERTFILE and CROSSAISLE_SSL_KEYFILE"),
        (
            secured.at("MUTUAL", "SSL", **trusting, ssl_certfile=CERTIFICATES / "foreign.pem"),
            "CROSSAISLE_SSL_CERTFILE and CROSSAISLE_SSL_KEYFILE to one that is valid",
        ),
    ]
    for settings, remedy in cases:
        found = asyncio.run(look(settings, settings.bootstrap_servers))
        assert isinstance(found, Trouble), settings
        assert found.is_final, found
        assert remedy in found.remedy, found
    good = [
        secured.at("TLS", "SSL", **trusting),
        secured.at("SASL-TLS", "SASL_SSL", **trusting, **user),
        secured.at("MUTUAL", "SSL", **trusting, ssl_certfile=CERTIFICATES / "client.pem"),
        secured.worker,
    ]
    assert all(asyncio.run(find_broker(settings)) for settings in good)


def test_one_address_that_lets_us_in_is_enough(secured: Secured) -> None:
    """An address that refuses counts only where none answers; one that is away is waited for."""
    refusing, away = f"{HOST}:{secured.ports['TLS']}", f"{HOST}:{free_port()}"
    good = secured.everything.bootstrap_servers

    def found(*servers: str) -> bool:
        settings = secured.everything.model_copy(update={"bootstrap_servers": ",".join(servers)})
        return asyncio.run(find_broker(settings))

    assert found(refusing, good)
    assert not found(away)
    with pytest.raises(AccessError, match="speaks TLS"):
        found(away, refusing)


def test_an_encrypted_key_is_never_asked_for(secured: Secured) -> None:
    """Its password is a setting; without it, or with another one, the error names the variable."""
    settings = secured.at(
        "MUTUAL",
        "SSL",
        ssl_cafile=CERTIFICATES / "ca.pem",
        ssl_certfile=CERTIFICATES / "client-certificate.pem",
        ssl_keyfile=CERTIFICATES / "client-encrypted.key",
    )
    for password in (None, SecretStr("another")):
        with pytest.raises(TlsError, match="CROSSAISLE_SSL_KEY_PASSWORD"):
            client_options(settings.model_copy(update={"ssl_key_password": password}))
    known = settings.model_copy(update={"ssl_key_password": SecretStr("changeit")})
    assert asyncio.run(find_broker(known))


def test_a_wrong_password_ends_a_worker_and_a_command(secured: Secured, tmp_path: Path) -> None:
    """Neither waits for a broker that is there; both name the variable, and no traceback buries it."""
    settings = signed_in(secured.everything, secured.worker.bootstrap_servers, USER, "another")
    with harness.Worker(settings, tmp_path / "log") as worker:
        assert worker.wait() == 1
        assert "CROSSAISLE_SASL_PASSWORD" in worker.log.splitlines()[-1]
        assert "Traceback" not in worker.log
        assert "broker_unreachable" not in worker.log
    with pytest.raises(LagError, match="CROSSAISLE_SASL_PASSWORD"):
        asyncio.run(measure_lag(settings))


def test_without_rights_each_command_names_those_that_it_needs(secured: Secured, tmp_path: Path) -> None:
    """Nothing is said to be away or missing that only may not be seen; a worker ends with all that it lacks."""
    settings = secured.worker

    async def watch() -> None:
        async with SlateWatcher(settings):
            pass

    with pytest.raises(WatchError, match="grant Read on topic recommendations"):
        asyncio.run(watch())
    with pytest.raises(ProduceError, match="grant Write on topic events"):
        asyncio.run(produce_records(settings, "events", [{"user_id": "u"}]))
    with pytest.raises(LagError, match=r"grant Read on topic events.*Describe on group crossaisle\.user"):
        asyncio.run(measure_lag(settings))
    with pytest.raises(AccessError, match=r"grant Read on topic crossaisle\.user-state"):
        asyncio.run(inspect_totals(settings))
    assert {finding.problem for finding in asyncio.run(check_topics(settings))} == {"may not be seen, if it exists"}
    with harness.Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        assert worker.wait() == 1
        last = worker.log.splitlines()[-1]
        assert "Read on topic catalog" in last
        assert "Read on group crossaisle.user" in last
        assert "Traceback" not in worker.log


def test_the_documented_rights_are_what_a_worker_needs(secured: Secured, tmp_path: Path) -> None:
    """Without rights nothing is let in; with the table's it learns, publishes, rejects and serves its page."""
    everything, settings, _ = secured
    assert client_options(settings)["sasl_mechanism"] == "SCRAM-SHA-512"
    assert "error" in {finding.severity for finding in asyncio.run(check_rights(settings))}
    grant(everything, documented_rights())
    _until_all_is_granted(settings)
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


@pytest.mark.parametrize(
    ("kind", "name", "operation", "remedy"),
    [
        (ResourceType.TOPIC, "crossaisle.user-state", AclOperation.WRITE, "Write on topic crossaisle.user-state"),
        (ResourceType.GROUP, "crossaisle.user", AclOperation.READ, "Read on group crossaisle.user"),
        (ResourceType.TRANSACTIONAL_ID, "crossaisle.", AclOperation.WRITE, "on transactional ids crossaisle.*"),
        (ResourceType.TOPIC, "catalog", AclOperation.READ, "Read on topic catalog"),
        (ResourceType.TOPIC, "crossaisle.policy-state", AclOperation.WRITE, "Write on topic crossaisle.policy-state"),
    ],
)
def test_a_right_that_is_taken_away_ends_the_worker(
    secured: Secured, tmp_path: Path, kind: ResourceType, name: str, operation: AclOperation, remedy: str
) -> None:
    """A task, the group, a tail or the policy that misses it: it is named with its remedy, and no traceback buries it.

    Without its right a policy that is never published, and a catalogue that is never read, would look well.
    """
    everything, settings, _ = secured
    grant(everything, documented_rights())
    _until_all_is_granted(settings)
    market = Shop()
    with harness.Worker(settings, tmp_path / "log", REAL_WORKER) as worker:
        shop.wait_ready(worker)
        with denied(everything, kind, name, operation):
            while worker.process.poll() is None:
                harness.send(everything, market.events(20))
            assert worker.wait() == 1
    assert remedy in next(line for line in worker.log.splitlines() if line.startswith("error: "))
    assert "Traceback" not in worker.log


async def test_a_group_that_may_not_be_joined_ends_the_stage(secured: Secured) -> None:
    """Where nobody could ask for the rights before, the group's refusal is heard though no task is there to hear it."""
    everything, settings, _ = secured
    grant(everything, documented_rights())
    await asyncio.to_thread(_until_all_is_granted, settings)
    spec = StageSpec(
        name="user",
        input_topic=settings.topic_events,
        changelog_topic=settings.topic_user_state,
        group_id=f"{settings.app_id}.user",
        commit_interval_ms=100,
        open_processor=lambda *_: pytest.fail("no partition is assigned"),
    )
    with ThreadPoolExecutor() as executor, denied(everything, ResourceType.GROUP, spec.group_id, AclOperation.READ):
        stage = StageService(settings, spec, [executor], executor)
        await stage.start()
        await harness.until(lambda: stage.crashed, "the stage to end", 30)
        assert f"Read on group {spec.group_id}" in str(stage.crash_reason)
        await stage.stop()


def _until_all_is_granted(settings: Settings) -> None:
    harness.wait_for(
        lambda: [f.severity for f in asyncio.run(check_rights(settings))] == ["ok"], "the rights to be known"
    )


def test_the_documented_rights_of_others_are_enough(secured: Secured) -> None:
    """Each command of the second table works for a user who has what it lists there, and nothing else."""
    everything = secured.everything
    users = documented_users()
    assert users, "the table has rows"
    for user, bindings in users.items():
        settings = signed_in(everything, secured.worker.bootstrap_servers, user)
        assert not _may_run(user, settings), "without rights it does not work"
        grant(everything, bindings)
        harness.wait_for(partial(_may_run, user, settings), f"{user} to be allowed", 30)


def _may_run(command: str, settings: Settings) -> bool:
    """Return whether a command works; rights take a moment to reach the broker."""

    async def run() -> None:
        match command:
            case "produce":
                await produce_records(settings, settings.topic_events, [{"user_id": "u"}])
                await produce_records(settings, settings.topic_catalog, [{"item_id": "i"}])
            case "watch":
                async with SlateWatcher(settings, from_beginning=True):
                    pass
            case "lag":
                async with LagMeter(settings) as meter:
                    await meter.measure()
                    await fetch_members(meter.admin, settings)
            case "inspect":
                await inspect_totals(settings)
                with pytest.raises(UnknownIdError, match="u"):
                    await inspect_user(settings, "u")
            case "policy":
                with contextlib.suppress(NoPolicyError):
                    await read_policy(settings)
            case _:
                pytest.fail(f"the table has a row for {command}: try it here")

    try:
        asyncio.run(run())
    except (AccessError, LagError, ProduceError, WatchError):
        return False
    return True
