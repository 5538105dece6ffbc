"""A secured broker for each file of tests that needs one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stream_app.secured import Secured, secured_broker

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Return settings of who may do everything, and of the worker's user, at a broker with SCRAM, TLS and rights."""
    with secured_broker(tmp_path_factory.mktemp("secured")) as broker:
        yield broker
