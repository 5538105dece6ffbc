"""Who may ask: everybody on this machine, or whoever has the token; and every error as a problem with its remedy.

Without a token the server binds to the loopback only, and answers only to names of this machine: a page of some web
site whose name is made to point at 127.0.0.1 would otherwise read what users do from the browser of whoever works here.
With a token, programs send it as ``Authorization: Bearer TOKEN``; people type it once and get a cookie made from it.
Health, metrics and the OpenAPI document hold no user data and are open.
"""

from __future__ import annotations

import hashlib
import hmac
from html import escape
from typing import TYPE_CHECKING, Final

from aiohttp import web

from stream_app.members import is_loopback
from stream_app.web.answer import ProblemError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.typedefs import Middleware

    from stream_app.settings import Settings

OPEN_PATHS: Final = frozenset({"/health/live", "/health/ready", "/metrics", "/openapi.json"})
LOGIN_PATH: Final = "/login"
COOKIE: Final = "crossaisle"
HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
}


class ExposedError(ValueError):
    """The settings would let everybody on the network read what users do; the message names the remedy."""


def check_exposure(settings: Settings) -> None:
    """Make sure that a server that others can reach asks for a token.

    Raises
    ------
    ExposedError
        It binds to more than the loopback, and has no token.
    """
    if settings.web_token is None and not is_loopback(settings.web_host):
        message = (
            f"CROSSAISLE_WEB_HOST is {settings.web_host}: others could read what users do. Set CROSSAISLE_WEB_TOKEN to "
            "a secret of your own (such as from: openssl rand -hex 24), or CROSSAISLE_WEB_HOST to 127.0.0.1"
        )
        raise ExposedError(message)


class Guard:
    """The middleware that every request passes.

    Parameters
    ----------
    settings
        ``web_token`` is taken from it.
    """

    def __init__(self, settings: Settings) -> None:
        token = settings.web_token
        self._token = token.get_secret_value().encode() if token is not None else None

    def middleware(self) -> Middleware:
        """Return the function that aiohttp calls around every handler."""

        @web.middleware
        async def run(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            try:
                self._check(request)
                response = await handler(request)
            except ProblemError as problem:
                response = self._refused(request, problem)
            except web.HTTPException as error:
                response = _as_problem(error)
            if not response.prepared:
                response.headers.update(HEADERS)
            return response

        return run

    async def login(self, request: web.Request) -> web.StreamResponse:
        """Take the token from the form and give a cookie for it.

        The form sends what stands behind # in the address along, and a browser takes it over to where it is sent next.
        """
        form = await request.post()
        token = form.get("token", "")
        if self._token is None or not isinstance(token, str) or not _same(_bytes(token), self._token):
            raise ProblemError("no_token", "the token is not the one in CROSSAISLE_WEB_TOKEN")
        response = web.Response(status=web.HTTPSeeOther.status_code, headers={"Location": "/"})
        response.set_cookie(COOKIE, self._cookie(), httponly=True, samesite="Strict", path="/")
        return response

    def _check(self, request: web.Request) -> None:
        if request.path in OPEN_PATHS or (request.path == LOGIN_PATH and self._token is not None):
            return
        if self._token is None:
            host = request.url.host or ""
            if not is_loopback(host):
                detail = (
                    f"this server answers to localhost, not to {host!r}; set CROSSAISLE_WEB_TOKEN to use other names"
                )
                raise ProblemError("wrong_host", detail)
            return
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and _same(_bytes(token.strip()), self._token):
            return
        if _same(_bytes(request.cookies.get(COOKIE, "")), self._cookie().encode()):
            return
        detail = "send Authorization: Bearer with the value of CROSSAISLE_WEB_TOKEN, or open / in a browser and type it"
        raise ProblemError("no_token", detail)

    def _cookie(self) -> str:
        return hmac.new(self._token or b"", b"crossaisle page", hashlib.sha256).hexdigest()

    def _refused(self, request: web.Request, problem: ProblemError) -> web.StreamResponse:
        if (
            problem.code == "no_token"
            and request.path in {"/", LOGIN_PATH}
            and "html" in request.headers.get("Accept", "")
        ):
            wrong = problem.detail if request.path == LOGIN_PATH else ""
            return web.Response(text=_LOGIN.replace("{wrong}", escape(wrong)), content_type="text/html", status=401)
        return answer_problem(problem)


def answer_problem(problem: ProblemError) -> web.Response:
    """Return a problem as an answer."""
    response = web.Response(body=problem.encode(), status=problem.status, content_type="application/problem+json")
    if problem.code == "no_token":
        response.headers["WWW-Authenticate"] = "Bearer"
    if problem.code in {"not_ready", "busy"}:
        response.headers["Retry-After"] = "1"
    return response


def _as_problem(error: web.HTTPException) -> web.StreamResponse:
    if error.status == web.HTTPNotFound.status_code:
        return answer_problem(ProblemError("not_found", "there is no such page; GET /openapi.json lists them"))
    if error.status == web.HTTPMethodNotAllowed.status_code:
        response = answer_problem(ProblemError("method_not_allowed", "GET /openapi.json lists what there is"))
        response.headers["Allow"] = error.headers.get("Allow", "GET")
        return response
    raise error


def _bytes(text: str) -> bytes:
    """Return the bytes of what a client sent: aiohttp has surrogates where they are not UTF-8."""
    return text.encode(errors="surrogatepass")


def _same(got: bytes, wanted: bytes) -> bool:
    return hmac.compare_digest(hashlib.sha256(got).digest(), hashlib.sha256(wanted).digest())


_LOGIN = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Crossaisle: token</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; display: grid; place-items: center; min-height: 90vh; margin: 1rem; }
form { display: grid; gap: .75rem; width: min(22rem, 90vw); }
input, button { font: inherit; padding: .6rem .75rem; border-radius: .5rem; border: 1px solid GrayText; }
button { font-weight: 600; cursor: pointer; }
</style>
<main><form method="post" action="/login">
<h1>Crossaisle</h1>
<label for="token">Token (CROSSAISLE_WEB_TOKEN of the worker)</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus>
<p role="alert">{wrong}</p>
<button>Open the page</button>
</form></main>
<script>
document.forms[0].addEventListener("submit", (event) => { event.target.action = "/login" + location.hash; });
</script></html>
"""
