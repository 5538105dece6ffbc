"""Settings: names, bounds, defaults."""

from __future__ import annotations

import pytest
from pydantic import SecretStr, ValidationError

from stream_app.settings import CREDENTIALS, Settings
from stream_app.settings_table import settings_table
from stream_app.wrong_settings import settings_problems

KEPT_NAMES = (
    "BOOTSTRAP_SERVERS",
    "APP_ID",
    "STATE_DIR",
    "COMMIT_INTERVAL_MS",
    "WEB_HOST",
    "WEB_PORT",
    "SECURITY_PROTOCOL",
    "SASL_MECHANISM",
    "SASL_USERNAME",
    "SASL_PASSWORD",
    "SSL_CAFILE",
    "SSL_CERTFILE",
    "SSL_KEYFILE",
    "TOPIC_EVENTS",
    "TOPIC_CATALOG",
    "TOPIC_RECOMMENDATIONS",
    "TOPIC_REJECTS",
    "TOPIC_ITEM_UPDATES",
    "TOPIC_ITEM_STATE",
    "TOPIC_USER_STATE",
)


@pytest.mark.parametrize("name", KEPT_NAMES)
def test_names_are_kept(name: str) -> None:
    """Other people's deployments set these variables: they stay."""
    assert name.lower() in Settings.model_fields
    assert f"`CROSSAISLE_{name}`" in settings_table()


def test_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable overrides the default, and own topics follow the app id."""
    monkeypatch.setenv("CROSSAISLE_APP_ID", "shop-7")
    monkeypatch.setenv("CROSSAISLE_TOPIC_ITEM_STATE", "elsewhere")
    settings = Settings()
    assert settings.topic_user_state == "shop-7.user-state"
    assert settings.topic_item_updates == "shop-7.item-updates"
    assert settings.topic_item_state == "elsewhere"
    assert settings.topic_events == "events"


def test_settings_are_frozen() -> None:
    """Nothing changes a setting after the start."""
    with pytest.raises(ValidationError, match="frozen"):
        Settings().app_id = "other"  # type: ignore[misc]  # that is what is tested


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("web_port", 0),
        ("slate_size", 11),
        ("app_id", "a b"),
        ("commit_interval_ms", 1),
        ("security_protocol", "TLS"),
        ("seed", 2**63),
        ("session_gap_ms", 2**63),
        ("max_future_ms", 2**63),
        ("relearn_events", 2**63),
        ("hot_rows", 2**63),
        ("bootstrap_servers", "kafka:99999"),
        ("bootstrap_servers", "kafka-1:9092,kafka-2:0"),
        ("web_advertise", "shop:65536"),
        ("web_advertise", "shop"),
    ],
)
def test_wrong_values_name_the_field(name: str, value: object) -> None:
    """A value outside its bounds is refused, and the message names the setting."""
    with pytest.raises(ValidationError, match=name):
        Settings(**{name: value})  # type: ignore[arg-type]  # wrong on purpose


def test_an_empty_state_dir_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that is set to nothing does not put the stores into the working directory."""
    monkeypatch.delenv("CROSSAISLE_STATE_DIR", raising=False)
    default = Settings().state_dir
    monkeypatch.setenv("CROSSAISLE_STATE_DIR", "")
    assert Settings().state_dir == default
    assert default.is_absolute()


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_a_blank_token_is_none(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    """A variable that is set to nothing does not make nothing the token."""
    monkeypatch.setenv("CROSSAISLE_WEB_TOKEN", blank)
    assert Settings().web_token is None
    assert Settings(web_token=SecretStr(blank)).web_token is None


def test_sasl_needs_user_and_password() -> None:
    """SASL without credentials is an error that names the variables; a password is never printed."""
    with pytest.raises(ValidationError, match="CROSSAISLE_SASL_USERNAME"):
        Settings(security_protocol="SASL_SSL")
    values = {"security_protocol": "SASL_SSL", "sasl_username": "u", "sasl_password": "secret-word"}
    settings = Settings(**values)  # type: ignore[arg-type]  # pydantic makes it a SecretStr
    assert "secret-word" not in repr(settings)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ({"sasl_username": "u", "sasl_password": "secret-word"}, "to SASL_PLAINTEXT"),
        ({"sasl_password": "secret-word", "ssl_cafile": "ca.pem"}, "to SASL_SSL"),
        ({"ssl_cafile": "ca.pem"}, "to SSL"),
        ({"security_protocol": "SSL", "sasl_username": "u", "sasl_password": "secret-word"}, "to SASL_SSL"),
    ],
)
def test_settings_that_the_protocol_ignores(values: dict[str, str], wanted: str) -> None:
    """Credentials with a protocol that does not use them: the error names the protocol, and never the password."""
    with pytest.raises(ValidationError, match=f"CROSSAISLE_SECURITY_PROTOCOL {wanted}") as caught:
        Settings(**values)  # type: ignore[arg-type]  # pydantic makes it a SecretStr
    assert "secret-word" not in settings_problems(caught.value)[0]
    empty = dict.fromkeys(CREDENTIALS, "")
    assert Settings(**empty) == Settings()  # type: ignore[arg-type]  # as from the environment
