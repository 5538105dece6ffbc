"""What the owner of a user answers reaches whoever asked another worker: slates, problems, and refusals."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from aiohttp import web
from multidict import MultiDict

from stream_app.settings import Settings
from stream_app.web.answer import ProblemError
from stream_app.web.guard import answer_problem
from stream_app.web.lookup import Answer, Lookup
from stream_app.web.pages import Pages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

PATH = "/recommendations/ann"
SLATE = b'{"source":"published"}'


class Owner:
    """Another worker, which owns all users: it answers with what it is given, and keeps the headers of requests."""

    def __init__(self, answer: web.Response | ProblemError) -> None:
        self._answer = answer
        self.headers: list[dict[str, str]] = []
        self.address = ""

    async def running(self) -> AsyncIterator[None]:
        """Serve."""
        app = web.Application()
        app.router.add_get("/{tail:.*}", self._respond)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.address = f"127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()

    async def _respond(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        return answer_problem(self._answer) if isinstance(self._answer, ProblemError) else self._answer


async def asked(owner: Owner, ask: Callable[[Lookup], Any], token: str | None = None) -> Any:
    """Return what comes of asking a worker that owns nobody."""
    async for _ in owner.running():
        settings = Settings(web_token=token)
        observer: Any = SimpleNamespace(
            latest=SimpleNamespace(lags=[SimpleNamespace(stage="user")]),
            owner=lambda _partition: owner.address,
            addresses=lambda: [owner.address],
        )
        runtime: Any = SimpleNamespace(processors=lambda _stage: {})
        lookup = Lookup(settings, runtime, observer)
        try:
            return await ask(lookup)
        finally:
            await lookup.close()
    return None


async def nobody() -> bytes:
    """Answer at this worker, which knows no user."""
    code = "unknown_user"
    raise ProblemError(code, "nobody here")


def newest_of(lookup: Lookup) -> Any:
    """Ask for the slate of a user."""
    return lookup.anywhere("ann", PATH, nobody)


def test_the_owners_slate_is_passed_on() -> None:
    """Byte for byte, and with the name of the worker."""
    owner = Owner(web.Response(body=SLATE))
    answer = asyncio.run(asked(owner, newest_of))
    assert answer == Answer(200, SLATE, owner.address)


@pytest.mark.parametrize("code", ["no_slate", "busy", "not_ready"])
def test_the_owners_problem_is_raised(code: str) -> None:
    """With its code and words, so that it is dealt with as one of this worker."""
    owner = Owner(ProblemError(code, "as the owner says"))
    with pytest.raises(ProblemError, match="as the owner says") as raised:
        asyncio.run(asked(owner, newest_of))
    assert raised.value.code == code


@pytest.mark.parametrize("body", [b"", b"null", b'{"code": 7}', b'{"code": "busy"}', b"<html>", b"\xff"])
def test_an_answer_that_no_worker_gives_is_not_passed_on(body: bytes) -> None:
    """Something else listens at that address, or a worker of another version."""
    owner = Owner(web.Response(body=body, status=500))
    with pytest.raises(ProblemError, match="answers with status 500") as raised:
        asyncio.run(asked(owner, newest_of))
    assert raised.value.code == "not_ready"


@pytest.mark.parametrize(
    "refusal", [ProblemError("no_token", "send it"), ProblemError("wrong_host", "not by that name")]
)
def test_a_worker_with_another_token_is_named(refusal: ProblemError) -> None:
    """Its refusal is not this worker's: a page would take it for its own, and ask for the token again and again."""
    owner = Owner(refusal)
    with pytest.raises(ProblemError, match="same CROSSAISLE_WEB_TOKEN") as raised:
        asyncio.run(asked(owner, newest_of, token="a secret of this one"))  # noqa: S106
    assert raised.value.code == "not_ready"


@pytest.mark.parametrize("code", ["no_slate", "busy", "not_ready", "unknown_user"])
def test_the_fallback_takes_the_place_of_what_an_owner_does_not_have(code: str) -> None:
    """`fallback=popular` is for whoever asks any worker, not for whoever happens to ask the owner."""

    class Popular:
        async def slate(self, user_id: str, excluded: list[str], now_ms: int) -> dict[str, Any]:
            del now_ms
            return {"user_id": user_id, "source": "popular", "excluded": excluded}

    async def ask(lookup: Lookup) -> web.StreamResponse:
        nothing: Any = None
        popular: Any = Popular()
        pages = Pages(
            Settings(),
            runtime=nothing,
            metrics=nothing,
            lookup=lookup,
            popular=popular,
            items=nothing,
            hub=nothing,
            guard=nothing,
        )
        request: Any = SimpleNamespace(headers={}, match_info={"user_id": "ann"}, query=MultiDict(fallback="popular"))
        return await pages.recommendations(request)

    response = asyncio.run(asked(Owner(ProblemError(code, "the owner has nothing")), ask))
    assert msgspec.json.decode(response.body) == {"user_id": "ann", "source": "popular", "excluded": []}


def test_the_token_goes_with_what_needs_it_only() -> None:
    """Who is a worker is what members of a group say: open paths are asked for without it."""

    async def ask(lookup: Lookup) -> None:
        await newest_of(lookup)
        await lookup.peer(owner.address, "/health/ready")

    owner = Owner(web.Response(body=SLATE))
    asyncio.run(asked(owner, ask, token="secret"))  # noqa: S106
    assert [headers.get("Authorization") for headers in owner.headers] == ["Bearer secret", None]
