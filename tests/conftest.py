"""Fixtures that all tests share: a real Apache Kafka, and settings that touch nothing of another test."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings as hypothesis_settings

from stream_app.broker import EmbeddedBroker
from stream_app.broker.ports import free_port
from stream_app.settings import Settings

# The first example of a kernel compiles it, so that no deadline holds. CI tries the same examples each time.
hypothesis_settings.register_profile("crossaisle", deadline=None, print_blob=True, derandomize="CI" in os.environ)
hypothesis_settings.load_profile("crossaisle")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    """Return a running broker with data of its own."""
    with EmbeddedBroker(tmp_path_factory.mktemp("broker")) as embedded:
        yield embedded


@pytest.fixture(scope="session")
def bootstrap_servers(broker: EmbeddedBroker) -> str:
    """Return the broker's address."""
    return broker.bootstrap_servers


def fresh_settings(bootstrap_servers: str, state_dir: Path) -> Settings:
    """Return settings with names of their own for the app and for every topic."""
    app_id = f"t{uuid.uuid4().hex[:10]}"
    return Settings(
        bootstrap_servers=bootstrap_servers,
        app_id=app_id,
        state_dir=state_dir,
        web_port=free_port(),
        topic_events=f"{app_id}.events",
        topic_catalog=f"{app_id}.catalog",
        topic_recommendations=f"{app_id}.recommendations",
        topic_rejects=f"{app_id}.rejects",
    )


@pytest.fixture
def app_settings(bootstrap_servers: str, tmp_path: Path) -> Settings:
    """Return settings of an app that no other test knows."""
    return fresh_settings(bootstrap_servers, tmp_path / "state")
