"""Who may ask, on a real server: nobody without the token, no foreign name without one, and health for everybody."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from stream_app.application import create_app
from stream_app.settings import Settings
from stream_app.web.guard import ExposedError, Guard, check_exposure

if TYPE_CHECKING:
    from pathlib import Path

TOKEN = "a secret of our own"  # noqa: S105 - made up


async def client_of(token: str | None) -> TestClient[web.Request, web.Application]:
    """Return a client of a server with a guarded page and an open one."""
    guard = Guard(Settings(web_token=token))
    app = web.Application(middlewares=[guard.middleware()])

    async def page(request: web.Request) -> web.StreamResponse:
        return web.json_response({"path": request.path})

    app.router.add_get("/", page)
    app.router.add_get("/users/{user_id}", page)
    app.router.add_get("/health/live", page)
    app.router.add_post("/login", guard.login)
    client = TestClient(TestServer(app))
    await client.start_server()
    return client


async def test_without_a_token_only_this_machine_is_answered() -> None:
    """A name that someone made point at 127.0.0.1 is refused; health is told to everybody."""
    client = await client_of(None)
    async with client:
        assert (await client.get("/users/ann")).status == 200
        for host in ("evil.example", "evil.example:6066", "10.0.0.1"):
            response = await client.get("/users/ann", headers={"Host": host})
            assert (response.status, (await response.json())["code"]) == (403, "wrong_host")
            assert (await client.get("/health/live", headers={"Host": host})).status == 200
        for host in ("localhost", "localhost:99", "[::1]:1", "127.0.0.1"):
            assert (await client.get("/users/ann", headers={"Host": host})).status == 200


async def test_with_a_token_it_is_asked_for() -> None:
    """Bearer lets in, anything else does not, and the answer says what to send."""
    client = await client_of(TOKEN)
    async with client:
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": TOKEN},
            {"Cookie": f"crossaisle={TOKEN}"},
            {"Authorization": "Bearer \udcff"},
            {"Cookie": "crossaisle=\udcff"},
        ):
            response = await client.get("/users/ann", headers=headers)
            assert (response.status, (await response.json())["code"]) == (401, "no_token")
            assert response.headers["WWW-Authenticate"] == "Bearer"
        good = {"Authorization": f"Bearer {TOKEN}", "Host": "shop.example"}
        assert (await client.get("/users/ann", headers=good)).status == 200
        assert (await client.get("/health/live")).status == 200


async def test_people_type_the_token_once() -> None:
    """The form gives a cookie that scripts cannot read and that is not the token."""
    client = await client_of(TOKEN)
    async with client:
        form = await client.get("/", headers={"Accept": "text/html"})
        assert form.status == 401
        assert 'action="/login"' in await form.text()
        wrong = await client.post("/login", data={"token": "x"}, headers={"Accept": "text/html"}, allow_redirects=False)
        assert wrong.status == 401
        assert "CROSSAISLE_WEB_TOKEN" in await wrong.text()
        done = await client.post("/login", data={"token": TOKEN}, allow_redirects=False)
        assert (done.status, done.headers["Location"]) == (303, "/")
        cookie = done.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert TOKEN not in cookie
        value = re.match("crossaisle=([0-9a-f]+)", cookie)
        assert value is not None
        response = await client.get("/users/ann", headers={"Cookie": f"crossaisle={value[1]}"})
        assert response.status == 200
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in response.headers["Content-Security-Policy"]


async def test_errors_are_problems() -> None:
    """An unknown page and a wrong method name what there is."""
    client = await client_of(None)
    async with client:
        missing = await client.get("/nothing")
        assert (missing.status, (await missing.json())["code"]) == (404, "not_found")
        wrong = await client.delete("/users/ann")
        assert (wrong.status, (await wrong.json())["code"]) == (405, "method_not_allowed")
        assert "GET" in wrong.headers["Allow"]


def test_others_are_not_let_in_by_accident(tmp_path: Path) -> None:
    """A worker that others could reach does not start without a token; the error says what to set."""
    exposed = Settings(web_host="0.0.0.0", state_dir=tmp_path)  # noqa: S104 - that is what is tested
    with pytest.raises(ExposedError, match="CROSSAISLE_WEB_TOKEN"):
        create_app(exposed)
    check_exposure(exposed.model_copy(update={"web_token": Settings(web_token=TOKEN).web_token}))
    check_exposure(Settings(web_host="localhost"))


@pytest.mark.parametrize("blank", ["", "  "])
async def test_a_blank_token_is_none(blank: str) -> None:
    """Whoever sends nothing as the token is not let in, and a server that others reach does not start with it."""
    with pytest.raises(ExposedError, match="CROSSAISLE_WEB_TOKEN"):
        check_exposure(Settings(web_host="0.0.0.0", web_token=blank))  # noqa: S104 - that is what is tested
    client = await client_of(blank)
    async with client:
        headers = {"Authorization": "Bearer ", "Host": "shop.example"}
        assert (await client.get("/users/ann", headers=headers)).status == 403
        assert (await client.post("/login", data={"token": blank})).status == 401
