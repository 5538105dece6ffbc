"""A secured broker: whom it refuses, and the setting that each refusal names."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import SecretStr

from stream_app.broker.ports import HOST, free_port
from stream_app.kafka import TlsError, client_options
from stream_app.lag import LagError, measure_lag
from stream_app.probe import AccessError, Trouble, find_broker, look
from tests.stream_app import harness
from tests.stream_app.secured import CERTIFICATES, PASSWORD, USER, Secured, signed_in


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
