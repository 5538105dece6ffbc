"""The routes of the worker's HTTP server: each takes a request apart and hands it to the module that knows."""

from __future__ import annotations

import asyncio
import time
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web

from stream_app.web.answer import ProblemError
from stream_app.web.lookup import HOP_HEADER, Answer, path_part
from stream_app.web.openapi import openapi_document

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from stream_app.metrics import Metrics
    from stream_app.runtime import Runtime
    from stream_app.settings import Settings
    from stream_app.web.guard import Guard
    from stream_app.web.hub import Hub
    from stream_app.web.items import Items
    from stream_app.web.lookup import Lookup
    from stream_app.web.popular import PopularSlates

MAX_EXCLUDED: Final = 64
_FALLBACK_FOR: Final = frozenset({"unknown_user", "no_slate", "not_ready", "busy"})
_JSON: Final = "application/json"
_WRITE_TIMEOUT_S = 30.0
"""A page that takes nothing for so long is gone, whatever its connection says."""


class Pages:
    """Answers requests.

    Parameters
    ----------
    settings
        Longest id.
    runtime, metrics, lookup, popular, items, hub, guard
        Who knows.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        runtime: Runtime,
        metrics: Metrics,
        lookup: Lookup,
        popular: PopularSlates,
        items: Items,
        hub: Hub,
        guard: Guard,
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._metrics = metrics
        self._lookup = lookup
        self._popular = popular
        self._items = items
        self._hub = hub
        self._guard = guard
        self._page = files("stream_app.web").joinpath("page.html").read_bytes()

    def add_to(self, app: web.Application) -> None:
        """Add all routes to the server."""
        routes: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
            "/": self.page,
            "/events/stream": self.stream,
            "/state": self.state,
            "/recommendations/{user_id}": self.recommendations,
            "/users/{user_id}": self.user,
            "/items/{item_id}": self.item,
            "/health/live": self.live,
            "/health/ready": self.ready,
            "/metrics": self.prometheus,
            "/openapi.json": self.openapi,
        }
        for path, handler in routes.items():
            app.router.add_get(path, handler)
        app.router.add_post("/login", self._guard.login)
        app.on_shutdown.append(self._close)

    async def page(self, request: web.Request) -> web.StreamResponse:
        """Answer people."""
        del request
        return web.Response(body=self._page, content_type="text/html", charset="utf-8")

    async def live(self, request: web.Request) -> web.StreamResponse:
        """Answer at all: the event loop turns."""
        del request
        return _json({"live": True})

    async def ready(self, request: web.Request) -> web.StreamResponse:
        """Answer 200 when all tails have caught up and all tasks run, else 503; the body says what is missing."""
        del request
        report = self._hub.report()
        return _json(report, 200 if report["ready"] else 503)

    async def prometheus(self, request: web.Request) -> web.StreamResponse:
        """Answer Prometheus."""
        body, content_type = self._metrics.render(request.headers.get("Accept", ""))
        return web.Response(body=body, headers={"Content-Type": content_type})

    async def openapi(self, request: web.Request) -> web.StreamResponse:
        """Answer with the OpenAPI document."""
        del request
        return _json(openapi_document(self._settings))

    async def state(self, request: web.Request) -> web.StreamResponse:
        """Answer with what the page shows."""
        del request
        return _json(await self._hub.overview())

    async def recommendations(self, request: web.Request) -> web.StreamResponse:
        """Answer with what to show a user now."""
        user_id = self._id_of(request, "user_id")
        is_popular, excluded = self._fallback_of(request)

        async def here() -> bytes:
            return await self._lookup.newest(user_id)

        try:
            return _raw(await self._answer(request, f"/recommendations/{path_part(user_id)}", user_id, here))
        except ProblemError as problem:
            if not is_popular or problem.code not in _FALLBACK_FOR or HOP_HEADER in request.headers:
                raise
        return _json(await self._popular.slate(user_id, excluded, time.time_ns() // 1_000_000))

    async def user(self, request: web.Request) -> web.StreamResponse:
        """Answer with what is known of a user, and their newest slate."""
        user_id = self._id_of(request, "user_id")

        async def here() -> bytes:
            found = await self._lookup.user(user_id)
            try:
                slate = msgspec.json.decode(await self._lookup.newest(user_id))
            except ProblemError:
                return msgspec.json.encode({**found, "slate": None})
            return msgspec.json.encode({**found, "slate": self._items.with_titles(slate)})

        return _raw(await self._answer(request, f"/users/{path_part(user_id)}", user_id, here))

    async def item(self, request: web.Request) -> web.StreamResponse:
        """Answer with what is known of an item."""
        return _json(await self._items.describe(self._id_of(request, "item_id")))

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """Answer with server-sent events until the page goes or the worker stops."""
        messages = self._hub.watch()
        first = await anext(messages)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        try:
            await response.prepare(request)
            await _write(response, b"retry: 1000\n\n" + first)
            async for message in messages:
                await _write(response, message)
        except (ConnectionResetError, asyncio.CancelledError):
            pass
        except TimeoutError:  # nobody reads there: the end of the answer would be waited for as long
            if request.transport is not None:
                request.transport.abort()
        finally:
            await messages.aclose()
        return response

    async def _answer(
        self, request: web.Request, path: str, user_id: str, here: Callable[[], Awaitable[bytes]]
    ) -> Answer:
        if HOP_HEADER in request.headers:
            return Answer(200, await here(), self._lookup.address)
        return await self._lookup.anywhere(user_id, path, here)

    def _id_of(self, request: web.Request, name: str) -> str:
        value = request.match_info[name]
        try:
            n_bytes = len(value.encode())
        except UnicodeEncodeError as error:
            raise ProblemError("bad_request", f"{name} is not UTF-8: percent-encode its UTF-8 bytes") from error
        if n_bytes > self._settings.max_id_bytes:
            detail = (
                f"{name} has {n_bytes} bytes; ids have at most {self._settings.max_id_bytes} (CROSSAISLE_MAX_ID_BYTES)"
            )
            raise ProblemError("bad_request", detail)
        return value

    @staticmethod
    def _fallback_of(request: web.Request) -> tuple[bool, Sequence[str]]:
        unknown = set(request.query) - {"fallback", "exclude"}
        if unknown:
            raise ProblemError("bad_request", f"unknown parameter {min(unknown)!r}; known: fallback, exclude")
        fallbacks = request.query.getall("fallback", [])
        excluded = request.query.getall("exclude", [])
        if len(fallbacks) > 1 or (fallbacks and fallbacks[0] != "popular"):
            raise ProblemError("bad_request", f"fallback must be popular, once, got {fallbacks[0]!r}")
        if len(excluded) > MAX_EXCLUDED or not all(excluded):
            raise ProblemError("bad_request", f"exclude must name a category, at most {MAX_EXCLUDED} times")
        return bool(fallbacks), excluded

    async def _close(self, app: web.Application) -> None:
        del app
        self._hub.close()
        await self._lookup.close()


async def _write(response: web.StreamResponse, message: bytes) -> None:
    """Write to a page; raise a TimeoutError where it has not taken what came before for long."""
    async with asyncio.timeout(_WRITE_TIMEOUT_S):
        await response.write(message)


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), status=status, content_type=_JSON)


def _raw(answer: Answer) -> web.Response:
    response = web.Response(body=answer.body, status=answer.status, content_type=_JSON)
    response.headers["X-Crossaisle-Worker"] = answer.worker
    return response
