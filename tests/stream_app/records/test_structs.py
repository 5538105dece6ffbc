"""Tests of slates and checkpoints as JSON, and of the schemas of all records."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped] # its stubs are another package

from stream_app.records import (
    AsOf,
    CatalogEntry,
    Checkpoint,
    Event,
    EventLimits,
    Slate,
    SlateItem,
    decode_slate,
    encode_slate,
    json_schemas,
)
from stream_app.records.policy import (
    ArmState,
    ArmStatistics,
    EstimateState,
    GroupState,
    PolicyState,
    PolicyStatistics,
    StandingState,
    StandingStatistics,
    decode_policy_state,
    decode_statistics,
    encode_policy,
)
from stream_app.settings import Settings
from tests.stream_app.records.samples import finite

SCHEMAS = json_schemas()
STRUCTS = {
    "event": Event,
    "catalog": CatalogEntry,
    "slate": Slate,
    "checkpoint": Checkpoint,
    "policy_statistics": PolicyStatistics,
    "policy_state": PolicyState,
}

texts = st.text(max_size=8)
counts = st.integers(0, 2**53)
slates = st.builds(
    Slate,
    slate_id=texts,
    user_id=texts,
    as_of=st.builds(AsOf, counts, counts),
    event_time_ms=counts,
    emitted_at_ms=counts,
    policy=texts,
    policy_version=counts,
    context_categories=st.lists(texts, max_size=3),
    items=st.lists(st.builds(SlateItem, texts, texts, finite, st.floats(0, 1), texts), max_size=3),
)
checkpoints = st.builds(
    Checkpoint,
    format_version=counts,
    stage=st.sampled_from(["user", "item"]),
    partition=counts,
    n_partitions=counts,
    input_topic=texts,
    input_topic_id=st.none() | texts,
    input_offset=counts,
    state=st.dictionaries(texts, counts | finite | texts | st.dictionaries(texts, counts, max_size=2), max_size=3),
)

sums = st.tuples(finite, finite, finite)
totals = st.tuples(finite, finite, finite, finite)
rows = st.lists(finite, max_size=3)
statistics = st.builds(
    PolicyStatistics,
    half_life_days=st.floats(0.1, 1e3),
    window_s=st.integers(1, 10**6),
    arms=st.dictionaries(
        texts,
        st.builds(
            ArmStatistics,
            cells=st.lists(sums, max_size=3),
            final=st.dictionaries(texts, totals, max_size=2),
            open=st.dictionaries(texts, st.lists(totals, max_size=4), max_size=2),
            standing=st.none()
            | st.builds(StandingStatistics, since=counts, final=rows, open=st.lists(rows, max_size=4)),
        ),
        max_size=3,
    ),
)
arms = st.builds(
    ArmState,
    name=texts, temperature=finite, epsilon=finite, n=finite, mean=finite, deviation=finite, p_worse=finite,
    shares=st.lists(finite, max_size=3), cell_means=st.lists(finite, max_size=3),
)  # fmt: skip
groups = st.builds(GroupState, group=texts, arm=texts, mean=finite, variance=finite, pending_mean=finite)
estimates = st.builds(
    EstimateState,
    estimator=st.sampled_from(["ips", "snips", "dr"]), value=finite, lower=st.none() | finite, upper=st.none() | finite,
    std_error=st.none() | finite,
)  # fmt: skip
standing = st.builds(
    StandingState, arm=texts, effective_n=finite, mean_weight=finite, estimates=st.lists(estimates, max_size=3),
    warnings=st.lists(texts, max_size=2),
)  # fmt: skip
policies = st.builds(
    PolicyState,
    reward_cap=finite, noise=finite, cells=st.lists(texts, max_size=3), arms=st.lists(arms, max_size=3),
    groups=st.lists(groups, max_size=3), standing=st.lists(standing, max_size=3),
)  # fmt: skip


@given(statistics)
def test_policy_statistics_round_trip(record: PolicyStatistics) -> None:
    """Encoded statistics decode to themselves, and keep to the JSON Schema."""
    raw = encode_policy(record)
    assert decode_statistics(raw) == record
    Draft202012Validator(SCHEMAS["policy_statistics"]).validate(json.loads(raw))


@given(policies)
def test_policy_state_round_trips(record: PolicyState) -> None:
    """An encoded policy decodes to itself, and keeps to the JSON Schema."""
    raw = encode_policy(record)
    assert decode_policy_state(raw) == record
    Draft202012Validator(SCHEMAS["policy_state"]).validate(json.loads(raw))


@given(slates)
def test_slate_round_trips(slate: Slate) -> None:
    """An encoded slate decodes to itself, and keeps to the JSON Schema."""
    raw = encode_slate(slate)
    assert decode_slate(raw) == slate
    Draft202012Validator(SCHEMAS["slate"]).validate(json.loads(raw))


@given(checkpoints)
def test_checkpoint_round_trips(checkpoint: Checkpoint) -> None:
    """An encoded checkpoint decodes to itself, and keeps to the JSON Schema."""
    raw = msgspec.json.encode(checkpoint)
    assert msgspec.json.decode(raw, type=Checkpoint) == checkpoint
    Draft202012Validator(SCHEMAS["checkpoint"]).validate(json.loads(raw))


def test_slate_has_the_fields_of_the_design() -> None:
    """The JSON of a slate is an API: these names, nested like this."""
    slate = Slate(
        "3-41", "ada", AsOf(3, 41), 1, 2, "greedy", 0, ["A / B"], [SlateItem("i", "C / D", 0.5, 1.0, "taste")]
    )
    assert json.loads(encode_slate(slate)) == {
        "slate_id": "3-41",
        "user_id": "ada",
        "as_of": {"partition": 3, "offset": 41},
        "event_time_ms": 1,
        "emitted_at_ms": 2,
        "policy": "greedy",
        "policy_version": 0,
        "context_categories": ["A / B"],
        "items": [{"item_id": "i", "category": "C / D", "score": 0.5, "propensity": 1.0, "reason": "taste"}],
        "policy_propensity": 1.0,
        "group": "learned",
    }


def test_fields_may_be_added() -> None:
    """A reader of today takes a slate of tomorrow that has a field more."""
    slate = Slate("3-41", "ada", AsOf(3, 41), 1, 2, "greedy", 0, [], [])
    later = {**json.loads(encode_slate(slate)), "mood": "sunny"}
    assert decode_slate(json.dumps(later).encode()) == slate


@pytest.mark.parametrize("raw", [b"", b"{}", b"\xff", b'{"slate_id":1}'])
def test_bytes_that_are_no_slate(raw: bytes) -> None:
    """What is no slate raises the documented error."""
    with pytest.raises(msgspec.DecodeError):
        decode_slate(raw)


@pytest.mark.parametrize("name", STRUCTS)
def test_schema_is_valid_and_describes_every_field(name: str) -> None:
    """Each schema is a JSON Schema of its dialect with all fields of the struct, each described in a sentence."""
    schema = SCHEMAS[name]
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    assert list(schema["properties"]) == list(STRUCTS[name].__struct_fields__)
    for part in (schema, *schema.get("$defs", {}).values()):
        assert part["description"]
        assert all(field["description"] for field in part["properties"].values())


def test_schemas_are_for_all_records() -> None:
    """There is one schema for each struct that a topic holds, and changing one in hand changes no later one."""
    assert SCHEMAS.keys() == STRUCTS.keys()
    before = json.dumps(json_schemas())
    json_schemas()["event"]["properties"].clear()
    json_schemas()["event"]["allOf"].clear()
    assert json.dumps(json_schemas()) == before


def test_limits_follow_the_settings() -> None:
    """The limits are those that the settings name, and the defaults agree."""
    settings = Settings(max_future_ms=1, max_id_bytes=20, max_record_bytes=300)
    assert EventLimits.of(settings) == EventLimits(max_future_ms=1, max_id_bytes=20, max_record_bytes=300)
    assert EventLimits.of(Settings()) == EventLimits()
