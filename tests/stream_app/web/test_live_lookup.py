"""Lookups at two real workers: each answers for every user, whoever owns them; and no request makes a server error."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode

from stream_app.records import decode_slate
from tests.stream_app import harness
from tests.stream_app.web.conftest import wait_until

if TYPE_CHECKING:
    from tests.stream_app.web.conftest import Pair


@pytest.fixture
def newest(pair: Pair) -> dict[str, bytes]:
    """Return the newest committed slate of each user, as the topic holds it once all events are learned."""
    wait_until(lambda: sum(lag.lag_events for lag in pair.lags()) == 0, "everything to be learned")
    harness.wait_decided(pair.settings[0], pair.settings[0].topic_recommendations)
    return {
        r.key.decode(): r.value
        for r in harness.read_committed(pair.settings[0], pair.settings[0].topic_recommendations)
    }


def test_both_workers_answer_with_the_newest_slate_of_the_topic(pair: Pair, newest: dict[str, bytes]) -> None:
    """For every user, the one who owns them and the one who does not: the record of the topic, field by field."""
    assert len(newest) > 20
    owners = {decode_slate(value).as_of.partition for value in newest.values()}
    assert {p in pair.owned(0) for p in owners} == {True, False}
    for user, value in newest.items():
        for worker in (0, 1):
            status, body = pair.get(worker, f"/recommendations/{user}")
            assert status == 200
            assert body.pop("source") == "published"
            assert body == json.loads(value)


def test_an_unknown_user_is_not_found_with_a_reason(pair: Pair) -> None:
    """At both workers, after all owners were asked."""
    for worker in (0, 1):
        status, body = pair.get(worker, "/recommendations/nobody")
        assert (status, body["code"]) == (404, "unknown_user")
        assert "nobody" in body["detail"]
        assert pair.get(worker, "/users/nobody")[1]["code"] == "unknown_user"


def test_a_user_of_another_partitioner_is_found(pair: Pair) -> None:
    """A producer that spreads keys in a way of its own puts users elsewhere; they are found there."""
    for partition in range(harness.N_PARTITIONS):
        user = f"odd-{partition}"
        harness.send(pair.settings[0], [pair.market.event(user, "item-5")], partition=partition)
    for partition in range(harness.N_PARTITIONS):
        for worker in (0, 1):
            path = f"/users/odd-{partition}"
            harness.wait_for(lambda w=worker, p=path: pair.get(w, p)[0] == 200, "the user to be learned")  # type: ignore[misc]
            assert pair.get(worker, path)[1]["partition"] == partition


def test_the_fallback_is_popular_and_leaves_categories_out(pair: Pair) -> None:
    """Only where there is no slate; excluded categories are left out."""
    query = urllib.parse.urlencode(
        [("fallback", "popular"), ("exclude", "shop / aisle-1"), ("exclude", "shop / aisle-2")]
    )
    status, body = pair.get(1, f"/recommendations/nobody?{query}")
    assert (status, body["source"], body["slate_id"]) == (200, "popular", None)
    assert len(body["items"]) == 10
    assert not {item["category"] for item in body["items"]} & {"shop / aisle-1", "shop / aisle-2"}
    assert pair.get(1, f"/recommendations/user-1?{query}")[1]["source"] == "published"
    assert pair.get(1, "/recommendations/nobody?fallback=none")[1]["code"] == "bad_request"


def test_strange_ids_are_looked_up_too(pair: Pair) -> None:
    """Slashes, spaces, other alphabets and long ids, percent-encoded, are ids like others."""
    users = ["a/b", "a b", "a.b", "ünïcødé 🛒", "100%", "x" * 256, "a?b#c"]
    harness.send(pair.settings[0], [pair.market.event(user, "item-5") for user in users])
    for user in users:
        path = "/users/" + urllib.parse.quote(user, safe="")
        for worker in (0, 1):
            harness.wait_for(lambda w=worker, p=path: pair.get(w, p)[0] == 200, f"{user!r} to be learned")  # type: ignore[misc]
            assert pair.get(worker, path)[1]["user_id"] == user
    assert pair.get(0, "/users/" + "x" * 257)[1]["code"] == "bad_request"


def test_ids_of_dots_are_ids(pair: Pair) -> None:
    """`.` and `..` are no way up the path: not to the worker that is asked, nor from that one to the owner."""
    for user in (".", "..", "..."):
        for view in ("users", "recommendations"):
            answers = [pair.get(worker, f"/{view}/{user.replace('.', '%2E')}") for worker in (0, 1)]
            assert [(status, body["code"]) for status, body in answers] == [(404, "unknown_user")] * 2


def test_slates_of_forgotten_users_are_not_shown_to_new_pages(pair: Pair) -> None:
    """At both workers, whoever owned the user; those of others still are."""
    gone = {f"gone-{partition}": partition for partition in range(harness.N_PARTITIONS)}
    forgets = {}
    for user, partition in gone.items():
        key, value = pair.market.event(user, "item-5")
        harness.send(pair.settings[0], [(key, value)], partition=partition)
        forgets[user] = key, json.dumps({**json.loads(value), "event_id": f"f-{user}", "type": "forget"}).encode()
    harness.send(pair.settings[0], [pair.market.event("kept", "item-5")])
    everybody = {*gone, "kept"}
    for worker in (0, 1):
        wait_until(lambda w=worker: everybody <= users_shown(pair, w), "a new page to show the slates")
    for user, partition in gone.items():
        harness.send(pair.settings[0], [forgets[user]], partition=partition)
    for user in gone:
        wait_until(lambda u=user: pair.get(0, f"/users/{u}")[0] == 404, "the user to be forgotten")
    for worker in (0, 1):
        assert users_shown(pair, worker) & everybody == {"kept"}


def users_shown(pair: Pair, worker: int) -> set[str]:
    """Return whose slates a page that is opened now is told of before anything else, nobody's if of none."""
    with urllib.request.urlopen(pair.url(worker, "/events/stream"), timeout=30) as stream:  # noqa: S310 - our own worker
        for line in stream:
            if line == b"event: slates\n":
                return {slate["user_id"] for slate in json.loads(next(stream).removeprefix(b"data: "))}
            if line == b"event: state\n":
                break
    return set()


def test_an_item_has_its_title_and_neighbours_at_both(pair: Pair) -> None:
    """Every worker knows all items."""
    for worker in (0, 1):
        status, item = pair.get(worker, "/items/item-1")
        assert (status, item["title"], item["category"]) == (200, "Thing item-1", ["shop", "aisle-1"])
        assert item["neighbours"][0]["title"].startswith("Thing item-")
        assert pair.get(worker, "/items/nothing")[1]["code"] == "unknown_item"


def test_no_request_breaks_the_document(pair: Pair) -> None:
    """Whatever is asked of any page, the answer has a documented status, type and schema, and is no server error."""
    schema = schemathesis.openapi.from_url(pair.url(1, "/openapi.json"))
    operations = [found.ok() for found in schema.exclude(path="/events/stream").get_all_operations()]  # it never ends
    assert len(operations) > 6
    for operation in operations:
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            _fuzz(operation, mode)


def _fuzz(operation: Any, mode: GenerationMode) -> None:
    if mode is GenerationMode.NEGATIVE and not list(operation.iter_parameters()):
        return  # nothing in it could be wrong

    @settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(operation.as_strategy(generation_mode=mode))
    def run(case: schemathesis.Case) -> None:
        case.call_and_validate()

    run()
