"""Tests of the words for settings that are wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from stream_app.settings import Settings
from stream_app.wrong_settings import dotenv_problem, settings_problems

if TYPE_CHECKING:
    from pathlib import Path


def _problems(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    for name, value in variables.items():
        monkeypatch.setenv(f"CROSSAISLE_{name}", value)
    with pytest.raises(ValidationError) as problem:
        Settings()
    return settings_problems(problem.value)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("WEB_PORT", "99999", "must be less than or equal to 65535, got '99999'"),
        ("SEED", "1e3", "must be a whole number, got '1e3'"),
        ("REWARD_CAP", "much", "must be a number, got 'much'"),
        ("APP_ID", "a b", "must match pattern '^[A-Za-z0-9._-]+$', got 'a b'"),
        ("BOOTSTRAP_SERVERS", "", "must be host:port, or several of them separated by commas, got ''"),
        ("BOOTSTRAP_SERVERS", "kafka", "must be host:port, or several of them separated by commas, got 'kafka'"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(
    name: str, value: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable, what was wanted, and what arrived."""
    assert _problems(monkeypatch, **{name: value}) == [f"CROSSAISLE_{name}: {words}"]


def test_settings_that_do_not_fit_together_repeat_no_other_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names what is wrong; the password that was set is not in it."""
    variables = {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_PASSWORD": "secret-word"}
    (words,) = _problems(monkeypatch, **variables)
    assert words == "CROSSAISLE_SECURITY_PROTOCOL SASL_SSL needs CROSSAISLE_SASL_USERNAME and CROSSAISLE_SASL_PASSWORD"


def test_two_topics_of_one_name_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events and catalogue in one topic would be each other's rejects."""
    (words,) = _problems(monkeypatch, TOPIC_EVENTS="shop", TOPIC_CATALOG="shop")
    assert words == (
        "CROSSAISLE_TOPIC_CATALOG and CROSSAISLE_TOPIC_EVENTS are both 'shop': each needs a topic of its own"
    )


@pytest.mark.parametrize("name", ["a/b", "..", "x" * 250])
def test_a_name_that_no_topic_can_have_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker would refuse to make it."""
    (words,) = _problems(monkeypatch, TOPIC_REJECTS=name)
    assert words.startswith("CROSSAISLE_TOPIC_REJECTS: a topic's name has letters")
    assert name in words


def test_a_dotenv_that_is_no_text_is_told(tmp_path: Path) -> None:
    """The file, the place in it, and what to do; a good file, a directory and none at all are no problem."""
    dotenv = tmp_path / ".env"
    assert dotenv_problem(dotenv) is None
    dotenv.write_bytes(b"CROSSAISLE_SEED=1\n\xff")
    assert dotenv_problem(dotenv) == f"{dotenv}: not UTF-8 at byte 18; write it anew as UTF-8 text"
    dotenv.write_text("CROSSAISLE_SEED=1\n")
    assert dotenv_problem(dotenv) is None
    assert dotenv_problem(tmp_path) is None
