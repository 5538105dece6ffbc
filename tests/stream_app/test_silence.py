"""Tests of telling that the broker is silent, on the real broker behind a port that opens and closes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from stream_app import silence
from stream_app.silence import _answers, silence_told
from tests.conftest import free_port
from tests.stream_app.harness import environment

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.settings import Settings


async def forward(address: str, port: int) -> asyncio.Server:
    """Pass on what comes to a port to an address."""
    host, _, number = address.rpartition(":")

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while chunk := await source.read(65_536):
            target.write(chunk)
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, int(number))
        await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)

    return await asyncio.start_server(serve, "127.0.0.1", port)


async def be_mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take what comes and answer nothing, as a frozen broker."""
    await reader.read()
    writer.close()


def test_silence_and_its_end_are_told_once(app_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody there, then somebody who answers nothing, then the broker: a sentence for the first and the last."""
    monkeypatch.setattr(silence, "LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(silence, "ANSWER_WITHIN_S", 1.0)
    port = free_port()
    settings = app_settings.model_copy(update={"bootstrap_servers": f"127.0.0.1:{port}"})
    told: asyncio.Queue[str] = asyncio.Queue()

    async def listen() -> list[str]:
        async with asyncio.timeout(120), silence_told(settings, told.put_nowait):
            words = [await told.get()]
            asked = asyncio.Event()

            async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                asked.set()
                await be_mute(reader, writer)

            async with await asyncio.start_server(serve, "127.0.0.1", port):
                await asked.wait()
            async with await forward(app_settings.bootstrap_servers, port):
                words.append(await told.get())
        return words

    assert asyncio.run(listen()) == [
        f"no broker answers at 127.0.0.1:{port}; trying again",
        f"the broker at 127.0.0.1:{port} answers again",
    ]
    assert told.empty()


def test_one_address_that_answers_is_enough(app_settings: Settings) -> None:
    """Of several addresses some may be silent."""
    servers = f"127.0.0.1:{free_port()},{app_settings.bootstrap_servers}"
    assert asyncio.run(_answers(app_settings.model_copy(update={"bootstrap_servers": servers})))


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments", [("lag",), ("watch",), ("policy",), ("inspect", "totals"), ("produce", "events.jsonl")]
)
def test_commands_tell_of_a_frozen_broker(app_settings: Settings, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """What listens never answers: long before a command gives up, it says on stderr what it waits for."""
    (tmp_path / "events.jsonl").write_text('{"event_id": "1", "user_id": "ann"}\n')

    async def run() -> bytes:
        async with await asyncio.start_server(be_mute, "127.0.0.1", 0) as server:
            address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
            env = environment(app_settings.model_copy(update={"bootstrap_servers": address}))
            command = [sys.executable, "-m", "stream_app.cli.main", *arguments]
            process = await asyncio.create_subprocess_exec(
                *command, env=env, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
            )
            assert process.stderr is not None
            try:
                async with asyncio.timeout(120):
                    return await process.stderr.readline()
            finally:
                process.kill()
                await process.communicate()

    line = asyncio.run(run()).decode()
    assert line.startswith("no broker answers at 127.0.0.1:")
    assert line.endswith("; trying again\n")
