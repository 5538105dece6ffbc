"""The command as a whole: files in, files out, twice the same bytes, and numbers that anyone can count again."""

from __future__ import annotations

import html
import json
import math
import random
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from typer.testing import CliRunner

from stream_app.cli.main import app
from stream_app.evaluation import files
from stream_app.evaluation.files import Request, evaluate_files
from stream_app.evaluation.notes import NO_CROSSING
from stream_app.evaluation.replay import ReplayModel
from stream_app.evaluation.source import EvaluationError, read_catalog, read_events
from stream_app.records import Event
from stream_app.settings import MAX_SEED, Settings
from stream_app.synthetic.files import write_synthetic
from stream_app.synthetic.params import KINDS, with_sizes
from tests.stream_app.evaluation.files_of import NOW_MS, START_MS, event, write_catalog, write_lines

if TYPE_CHECKING:
    from pathlib import Path

BASELINES = ("personal-frequency", "popularity", "co-occurrence")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small synthetic shop."""
    folder = tmp_path_factory.mktemp("shop")
    write_synthetic(folder, with_sizes(KINDS["groceries"], n_users=60, n_items=300, n_categories=20, days=60))
    return folder


def request_of(shop: Path, out: Path, models: tuple[str, ...] = BASELINES, **changes: Any) -> Request:
    """Return a request for a shop's files."""
    return Request(shop / "events.jsonl", shop / "catalog.jsonl", out, models, NOW_MS, **changes)


def hits_again(shop: Path, slates: Path) -> dict[str, list[float]]:
    """Count hits of all lists from ``slates.jsonl`` and the events alone, by the protocol's words."""
    category = {
        entry["item_id"]: tuple(entry["category"])
        for entry in map(json.loads, (shop / "catalog.jsonl").read_text().splitlines())
    }
    lists = {line["event_id"]: line for line in map(json.loads, slates.read_text().splitlines())}
    had: dict[str, set[str]] = {}
    sessions: dict[str, set[str]] = {}
    out: dict[str, list[float]] = {"x": [], "o": [], "e": [], "slate": []}
    for e in map(json.loads, (shop / "events.jsonl").read_text().splitlines()):
        item = e["item_id"]
        context = sessions.setdefault(e["session_id"], set())
        of_user = had.setdefault(e["user_id"], set())
        if e["event_id"] in lists:
            crosses = category[item] not in {category[past] for past in context}
            for name, values in out.items():
                if name == "o" or (crosses and (name != "e" or item not in of_user)):
                    values.append(float(item in lists[e["event_id"]][name]))
        context.add(item)
        of_user.add(item)
    return out


def test_anyone_can_count_again(shop: Path, tmp_path: Path) -> None:
    """A second, independent count of the lists in ``slates.jsonl`` gives the hit rates of ``metrics.json``."""
    result = evaluate_files(request_of(shop, tmp_path), Settings())
    for k, name in enumerate(BASELINES):
        counted = hits_again(shop, tmp_path / ("slates.jsonl" if k == 0 else f"slates.{name}.jsonl"))
        for each, values in counted.items():
            cell = result["models"][name]["lists"][each]["all"]["hr"]
            assert cell["n"] == len(values) > 0
            assert cell["mean"] == pytest.approx(sum(values) / len(values), abs=1e-6)
        assert result["models"][name]["misplaced"] == 0


def test_twice_the_same_bytes(shop: Path, tmp_path: Path) -> None:
    """The same files and seed give the same bytes in every file, River's models included."""
    models = (*BASELINES, "biased-mf", "funk-mf")
    for run in ("one", "two"):
        evaluate_files(request_of(shop, tmp_path / run, models, limit=1_500, score_every=3), Settings())
    names = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert names == sorted(["metrics.json", "report.html", "slates.jsonl", *(f"slates.{m}.jsonl" for m in models[1:])])
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_the_largest_seed(shop: Path, tmp_path: Path) -> None:
    """All models take it; one that is larger is refused."""
    settings = Settings(seed=MAX_SEED)
    evaluate_files(request_of(shop, tmp_path, ("crossaisle", "biased-mf", "funk-mf"), limit=200), settings)
    files = [str(shop / "events.jsonl"), "--catalog", str(shop / "catalog.jsonl"), "--out", str(tmp_path)]
    refused = CliRunner().invoke(app, ["evaluate", *files, "--seed", str(MAX_SEED + 1)])
    assert refused.exit_code == 2
    assert "--seed" in refused.output


def test_what_comes_from_outside_is_no_markup(tmp_path: Path) -> None:
    """Brackets in an event that is rejected, and in the folder's name, are printed as they are."""
    events = [event(k, "u", f"i{k % 5}", session_id="s") for k in range(20)]
    write_lines(tmp_path / "events.jsonl", [{**events[0], "type": "[/t]"}, *events])
    write_catalog(tmp_path / "catalog.jsonl", n_items=5, n_categories=1)
    out = tmp_path / "[red]out"
    names = [str(tmp_path / "events.jsonl"), "--catalog", str(tmp_path / "catalog.jsonl"), "--out", str(out)]
    done = CliRunner().invoke(app, ["evaluate", *names, "--model", "popularity", "--model", "personal-frequency"])
    assert done.exit_code == 0, done.output
    assert "[/t]" in done.output
    assert NO_CROSSING in " ".join(done.output.split())
    assert f"{out}: metrics.json, report.html, slates.jsonl, slates.personal-frequency.jsonl (" in done.output


@pytest.mark.parametrize("where", ["replay", "report"])
def test_a_run_that_fails_leaves_the_earlier_files_alone(
    shop: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Interrupted in the middle or at the very end: the files of before are there byte for byte, and no others."""
    evaluate_files(request_of(shop, tmp_path, limit=500), Settings())
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*_: object) -> str:
        raise KeyboardInterrupt

    def show(what: str, _share: float) -> None:
        if where == "replay" and what.endswith(" events"):
            fail()

    if where == "report":
        monkeypatch.setattr(files, "render", fail)
    with pytest.raises(KeyboardInterrupt):
        evaluate_files(request_of(shop, tmp_path, limit=1_500), Settings(), show)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_lists_of_an_earlier_run_do_not_stay_beside_new_metrics(shop: Path, tmp_path: Path) -> None:
    """Every file of the folder is from the last run; what is no file of an evaluation stays."""
    evaluate_files(request_of(shop, tmp_path, limit=500), Settings())
    (tmp_path / "slates.mine.jsonl").write_text("a note")
    evaluate_files(request_of(shop, tmp_path, BASELINES[1:], limit=500), Settings())
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"metrics.json", "report.html", "slates.jsonl", "slates.co-occurrence.jsonl", "slates.mine.jsonl"}


def test_a_forget_event_that_names_an_item_is_no_deed(tmp_path: Path) -> None:
    """Before the item's first event or after it: the user is forgotten, and the item's events are the others."""
    bought = [event(n, f"u{n % 7}", f"i{(n * 3) % 19}") for n in range(60)]
    new = [event(n, f"u{n % 7}", "i19") for n in range(100, 110)]
    named, unnamed = [
        [*bought, event(98, "u1", item, type="forget"), *new[:4], event(104, "u2", item, type="forget"), *new[4:]]
        for item in ("i19", None)
    ]
    results = []
    for name, events in (("named", named), ("unnamed", unnamed)):
        (tmp_path / name).mkdir()
        write_catalog(tmp_path / name / "catalog.jsonl", 20, 5)
        write_lines(tmp_path / name / "events.jsonl", events)
        results.append(evaluate_files(request_of(tmp_path / name, tmp_path / name / "out"), Settings())["models"])
    assert results[0] == results[1]
    assert results[0]["popularity"]["cold_start"]["new_items"]["n"] == 1


def test_order_of_models_does_not_matter(shop: Path, tmp_path: Path) -> None:
    """What a model answers does not hang on the models beside it."""
    both = evaluate_files(request_of(shop, tmp_path / "both", limit=1_500), Settings())
    alone = evaluate_files(request_of(shop, tmp_path / "alone", ("co-occurrence",), limit=1_500), Settings())
    assert both["models"]["co-occurrence"] == alone["models"]["co-occurrence"]


def test_personal_history_beats_popularity(shop: Path, tmp_path: Path) -> None:
    """Where people buy staples, their own history beats popularity, and the paired test says so."""
    result = evaluate_files(request_of(shop, tmp_path), Settings())
    cell = result["comparisons"]["personal-frequency - popularity"]["x"]["hr"]
    assert cell["difference"] > 0
    assert cell["p"] < 0.01
    assert cell["mcnemar_p"] < 0.01


def test_cost_of_exploration(shop: Path, tmp_path: Path) -> None:
    """Drawn slates are counted against greedy ones; what it costs can be counted again from ``slates.jsonl``."""
    settings = Settings(policy="bold", policy_arms="greedy:temperature=0,epsilon=0;bold:temperature=0,epsilon=0.5")
    found = {}
    for policy in ("greedy", "bold"):
        out = tmp_path / policy
        of = settings.model_copy(update={"policy": policy})
        result = evaluate_files(request_of(shop, out, ("crossaisle", "popularity"), limit=2_000), of)
        assert result["models"]["popularity"]["exploration"] is None
        found[policy] = result["models"]["crossaisle"]["exploration"]
        lines = [json.loads(line) for line in (out / "slates.jsonl").read_text().splitlines()]
        assert (policy == "greedy") == all(line["drawn"] == line["slate"] for line in lines)
        assert all(len(set(line["drawn"])) == len(line["drawn"]) for line in lines)
        assert all("drawn" not in json.loads(x) for x in (out / "slates.popularity.jsonl").read_text().splitlines())
    assert found["greedy"]["relative"] == 0.0
    assert found["bold"]["high"] < 0.0
    assert "What exploration costs" in (tmp_path / "bold" / "report.html").read_text()


def test_warmup_and_every_kth(tmp_path: Path) -> None:
    """The warm-up is not scored; after it every k-th event is, if it is a positive."""
    records = [event(k, f"u{k % 4}", f"i{k % 10}", type="view" if k % 4 == 3 else "purchase") for k in range(40)]
    write_lines(tmp_path / "events.jsonl", records)
    write_catalog(tmp_path / "catalog.jsonl", 10, 5)
    out = tmp_path / "out"
    evaluate_files(request_of(tmp_path, out, ("popularity",), warmup=0.25, score_every=2), Settings())
    scored = [json.loads(line)["event_id"] for line in (out / "slates.jsonl").read_text().splitlines()]
    assert scored == [f"e{k}" for k in range(10, 40, 2) if k % 4 != 3]


def test_ratings_are_measured(tmp_path: Path) -> None:
    """River's models predict stars before they learn them; others have no such table."""
    write_synthetic(tmp_path, with_sizes(KINDS["films"], n_users=30, n_items=120, n_categories=10, days=60))
    result = evaluate_files(request_of(tmp_path, tmp_path / "out", ("popularity", "biased-mf")), Settings())
    ratings = result["models"]["biased-mf"]["ratings"]
    assert result["models"]["popularity"]["ratings"] is None
    assert ratings["rmse"] == pytest.approx(math.sqrt(ratings["mse"]), abs=1e-5)
    assert 0.5 < ratings["roc_auc"] <= 1.0
    assert 0.0 < ratings["mae"] < 2.0


RATED_BY = ("crossaisle", "biased-mf")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a small synthetic site of films, all of whose events are ratings, and its evaluation."""
    folder = tmp_path_factory.mktemp("films")
    write_synthetic(folder, with_sizes(KINDS["films"], n_users=40, n_items=120, n_categories=10, days=60))
    command = ["evaluate", str(folder / "events.jsonl"), "--catalog", str(folder / "catalog.jsonl")]
    done = CliRunner().invoke(app, [*command, "--out", str(folder / "out"), "--score-every", "10"])
    assert done.exit_code == 0, done.output
    (folder / "shown.txt").write_text(done.stdout)
    return folder


def test_the_product_predicts_stars(films: Path) -> None:
    """With no model named, ratings get their measures in all three places, and a model of stars to compare with."""
    result = json.loads((films / "out" / "metrics.json").read_text())
    assert list(result["models"]) == ["crossaisle", "popularity", "personal-frequency", "biased-mf"]
    assert result["input"]["n_ratings"] == result["input"]["n_events"]
    for name in RATED_BY:
        ratings = result["models"][name]["ratings"]
        assert ratings["n"] == result["input"]["n_events"] - int(0.2 * result["input"]["n_events"])
        assert 0.0 < ratings["mae_se"] < ratings["mae"]
    tested = result["comparisons"]["crossaisle - biased-mf"]["ratings"]["mae"]
    ours, theirs = (result["models"][name]["ratings"]["mae"] for name in RATED_BY)
    assert tested["difference"] == pytest.approx(ours - theirs, abs=2e-6)
    assert result["comparisons"]["crossaisle - popularity"]["ratings"] is None
    for text in ((films / "shown.txt").read_text(), (films / "out" / "report.html").read_text()):
        assert "ROC AUC" in text
        assert "a worker publishes no stars" in text


def test_stars_are_foreseen_better_than_by_their_mean(films: Path) -> None:
    """The product's head has a smaller error than the mean of all ratings so far, by two standard errors."""
    stars = [json.loads(line)["value"] for line in (films / "events.jsonl").read_text().splitlines()]
    first = int(0.2 * len(stars))
    mean = [sum(stars[:k]) / k for k in range(first, len(stars))]
    mse = sum((a - b) ** 2 for a, b in zip(mean, stars[first:], strict=True)) / len(mean)
    ratings = json.loads((films / "out" / "metrics.json").read_text())["models"]["crossaisle"]["ratings"]
    assert ratings["mse"] + 2 * ratings["mse_se"] < mse


def test_ratings_that_nobody_predicts_are_told(films: Path, tmp_path: Path) -> None:
    """Where no model of a run predicts stars, the command says so, and which one to add."""
    command = ["evaluate", str(films / "events.jsonl"), "--catalog", str(films / "catalog.jsonl")]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path), "--model", "popularity"])
    assert "none of these models predicts stars: add --model crossaisle" in done.stdout


def test_a_rating_is_predicted_from_earlier_ones_alone(tmp_path: Path) -> None:
    """Whatever the last rating is, it was predicted the same, and so were all however the log is cut into batches."""
    rng = random.Random(7)  # noqa: S311 - ratings, no secrets
    rated = [event(n, f"u{n % 5}", f"i{n % 11}", type="rating", value=rng.randint(1, 5)) for n in range(80)]
    rated[40] |= {"type": "forget", "value": None}
    catalog = read_catalog(write_catalog(tmp_path / "c.jsonl", 11, 3), Settings())
    predicted = []
    for last, size in ((1, 80), (5, 80), (5, 13)):
        rated[-1]["value"] = last
        log = read_events(write_lines(tmp_path / "e.jsonl", rated), Settings(), now_ms=NOW_MS)
        model = ReplayModel(Settings(), catalog.records, replica_lag=7)
        batches = [
            model.score_and_learn(events, k * size, np.zeros(len(events), np.bool_)).rated
            for k, events in enumerate(log.batches(size))
        ]
        predicted.append([rating for batch in batches for rating in batch])
    assert predicted[0] == predicted[1] == predicted[2]
    assert [rating.index for rating in predicted[0]] == [n for n in range(80) if n != 40]
    assert all(1.0 <= rating.stars <= 5.0 for rating in predicted[0])
    assert len({rating.stars for rating in predicted[0]}) > 40


def test_one_user_alone(tmp_path: Path) -> None:
    """With a single user there are no errors over users; tables, report and JSON say so."""
    write_lines(tmp_path / "events.jsonl", [event(300 * n, "u", f"i{n * n % 41}") for n in range(200)])
    write_catalog(tmp_path / "catalog.jsonl", 41, 20)
    command = ["evaluate", str(tmp_path / "events.jsonl"), "--catalog", str(tmp_path / "catalog.jsonl")]
    models = [word for name in BASELINES for word in ("--model", name)]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out"), *models])
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out" / "metrics.json").read_text())
    cells = [lists[name]["hr"] for lists in result["comparisons"].values() for name in ("x", "o", "slate")]
    differing = [cell for cell in cells if cell["only_ours"] or cell["only_theirs"]]
    assert differing
    assert all((cell["se"], cell["z"], cell["p"]) == (None, None, None) for cell in differing)


def test_one_always_right_and_one_always_wrong(tmp_path: Path) -> None:
    """The same difference for every user has an error of 0 and is certain; tables and report can say so."""
    crowd = [event(n, f"crowd{n % 12}", f"i{n % 11}") for n in range(220)]
    own = [event(1_000 + 10_000 * turn + k, f"u{k}", f"i{11 + k}") for turn in range(2) for k in range(30)]
    write_lines(tmp_path / "events.jsonl", [*crowd, *own])
    write_catalog(tmp_path / "catalog.jsonl", 41, 41)
    command = ["evaluate", str(tmp_path / "events.jsonl"), "--catalog", str(tmp_path / "catalog.jsonl")]
    chosen = ["--model", "personal-frequency", "--model", "popularity", "--warmup", str(250 / 280)]
    done = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "out"), *chosen])
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "out" / "metrics.json").read_text())
    cell = result["comparisons"]["personal-frequency - popularity"]["x"]["hr"]
    assert (cell["difference"], cell["se"], cell["z"], cell["p"]) == (1.0, 0.0, None, 0.0)
    assert "1.0000±.0000*" in done.stdout
    assert "<td>+1.0000 ± 0.0000</td><td>-</td><td>0</td>" in (tmp_path / "out" / "report.html").read_text()


def test_an_event_that_the_worker_passes_over_has_no_odds() -> None:
    """Handed over all the same, it gets empty lists and no log-loss."""
    events = [msgspec.convert(event(n, "u", "i1", event_id="x"), Event) for n in range(2)]
    model = ReplayModel(Settings(), [], replica_lag=1)
    answers = model.score_and_learn(events, 0, np.ones(2, np.bool_)).scored
    assert (answers[1].lists["o"], answers[1].loss, answers[1].true_at) == ([], None, None)


def test_unsorted_events_that_repeat_an_id(tmp_path: Path) -> None:
    """An id that is far from its like in the file, and beside it in time: the worker passes it over, and so do all."""
    stray = [event(1, "u", "i0", event_id="x"), *(event(10 + n, f"u{n % 3}", f"i{n % 10}") for n in range(40))]
    records = [*stray, event(2, "u", "i1", event_id="x")]
    write_lines(tmp_path / "events.jsonl", records)
    write_catalog(tmp_path / "catalog.jsonl", 10, 5)
    models = ("crossaisle", "popularity")
    result = evaluate_files(request_of(tmp_path, tmp_path / "out", models, warmup=0.0, replica_lag=1), Settings())
    about = result["input"]
    assert (about["n_events"], about["n_duplicates"], about["n_out_of_order"]) == (41, 1, 1)
    assert result["scored"]["n"] == 41


class _Addresses(HTMLParser):
    """Collects whatever a page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [f"{tag} {value}" for name, value in attrs if name in {"src", "href"} and value]


def test_report_needs_nothing_from_outside(shop: Path, tmp_path: Path) -> None:
    """The report is one well-formed page with its plots inside, and a hostile file name stays text."""
    (tmp_path / "<b>events.jsonl").write_bytes((shop / "events.jsonl").read_bytes())
    request = Request(
        tmp_path / "<b>events.jsonl", shop / "catalog.jsonl", tmp_path / "out", BASELINES, NOW_MS, limit=900
    )
    evaluate_files(request, Settings())
    page = (tmp_path / "out" / "report.html").read_text()
    parser = _Addresses()
    parser.feed(page)
    assert parser.found == []
    assert page.count("<svg") >= 6
    assert "<b>" not in page
    assert "url(" not in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "magic"], "there is no model 'magic'; use one of"),
        (["--model", "popularity", "--warmup", "1.0"], "use a smaller --warmup, or more events"),
        (["--model", "popularity", "--out", "/dev/null/x"], "choose another folder with --out"),
    ],
)
def test_errors_name_the_remedy(arguments: list[str], message: str, shop: Path, tmp_path: Path) -> None:
    """What cannot be evaluated is an error that says what to do."""
    command = ["evaluate", str(shop / "events.jsonl"), "--catalog", str(shop / "catalog.jsonl")]
    if "--out" not in arguments:
        command += ["--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*command, "--limit", "200", *arguments])
    assert done.exit_code == 1
    assert message in str(done.exception)


def test_nothing_to_score_names_why(tmp_path: Path) -> None:
    """No positive at all, none after the warm-up, or none among every k-th event: each has its own remedy."""
    viewed = [event(k, "u", f"i{k % 5}", type="view") for k in range(20)]
    disliked = [event(k, "u", "i1", type="rating", value=3) for k in range(20, 23)]
    write_catalog(tmp_path / "catalog.jsonl", 5, 5)
    for events, plan, message in (
        ([*viewed, *disliked], {}, r"23 events .*nor before it \(rating 3, view 20\).*add such events"),
        (
            [event(99, "u", "i0", event_time_ms=START_MS), *viewed],
            {},
            "favorite or rating of 4 and more; use a smaller --w",
        ),
        (
            [*viewed, event(30, "u", "i0")],
            {"score_every": 9},
            r"--score-every 9 leaves out all that could be.*\(1\); use a smaller",
        ),
    ):
        write_lines(tmp_path / "events.jsonl", events)
        with pytest.raises(EvaluationError, match=message):
            evaluate_files(request_of(tmp_path, tmp_path / "out", ("popularity",), **plan), Settings())


def test_vectors_of_several_lengths_are_counted(shop: Path, tmp_path: Path) -> None:
    """Vectors of one model are no news; where lengths differ, table and metrics say how many items have which."""
    lines = [json.loads(line) for line in (shop / "catalog.jsonl").read_text().splitlines()]
    for name, lengths in {"one": [3], "two": [3, 3, 5]}.items():
        catalog = tmp_path / f"{name}.jsonl"
        entries = [{**line, "embedding": [1.0] * lengths[k % len(lengths)]} for k, line in enumerate(lines)]
        catalog.write_text("".join(json.dumps(each) + "\n" for each in entries))
        command = ["evaluate", str(shop / "events.jsonl"), "--catalog", str(catalog), "--out", str(tmp_path / name)]
        result = CliRunner().invoke(app, [*command, "--model", "popularity"], env={"COLUMNS": "200"})
        assert result.exit_code == 0, result.output
        told = json.loads((tmp_path / name / "metrics.json").read_text())["input"]["embeddings"]
        assert told == ({"3": 300} if name == "one" else {"3": 200, "5": 100})
        assert ("200 items with 3 components, 100 items with 5 components" in result.output) is (name == "two")


def told_of(folder: Path, events: list[dict[str, Any]], *models: str) -> tuple[dict[str, Any], list[str]]:
    """Evaluate events with the folder's catalogue; return ``metrics.json``, and the words of table and report."""
    write_lines(folder / "events.jsonl", events)
    command = ["evaluate", str(folder / "events.jsonl"), "--catalog", str(folder / "catalog.jsonl")]
    chosen = [word for name in models for word in ("--model", name)]
    done = CliRunner().invoke(app, [*command, "--out", str(folder / "out"), *chosen])
    assert done.exit_code == 0, done.output
    report = html.unescape((folder / "out" / "report.html").read_text())
    return json.loads((folder / "out" / "metrics.json").read_text()), [" ".join(done.stdout.split()), report]


def test_a_catalogue_of_other_items_is_told_as_the_cause(tmp_path: Path) -> None:
    """Ids that pandas wrote with a point: their number, both forms and the remedy, and nothing about categories."""
    entries = [{"item_id": f"{k}", "category": ["shop", f"c{k % 5}"]} for k in (7, 1_000, 1_001)]
    write_lines(tmp_path / "catalog.jsonl", entries)
    bought = [event(k, "u", f"{998 + k % 4}.0") for k in range(40)]
    result, told = told_of(tmp_path, [event(99, "u", "7", type="impression"), *bought], "popularity")
    about = result["input"]
    assert (about["n_items_with_events"], about["n_items_listed"]) == (4, 0)
    assert (about["n_events_of_items"], about["n_events_listed"]) == (40, 0)
    assert about["unlisted_example"] == {"events": "1000.0", "catalog": "1000"}
    for words in told:
        assert "0 of the 4 items of the events, 0 of 40 events" in words
        assert "it lists none of the 4 items of the events" in words
        assert "'1000.0' in the events, '1000' in the catalogue. Write item ids alike in both files" in words
        assert NO_CROSSING not in words


@pytest.mark.parametrize(("n_listed", "is_told"), [(4, True), (5, False), (10, False)])
def test_a_catalogue_that_lists_few_of_the_items_is_told(tmp_path: Path, n_listed: int, is_told: bool) -> None:
    """From less than half on, with an example; how many it is stands there always."""
    write_catalog(tmp_path / "catalog.jsonl", n_listed, n_listed)
    events = [event(k, f"u{k % 3}", f"i{k % 10}") for k in range(60)]
    result, told = told_of(tmp_path, events, "popularity")
    assert result["input"]["unlisted_example"] == ({"events": "i4", "catalog": "i0"} if is_told else None)
    for words in told:
        assert f"{n_listed} of the 10 items of the events, {6 * n_listed} of 60 events" in words
        assert ("O counts them as misses" in words) is is_told
        assert ("'i4' in the events, 'i0' in the catalogue" in words) is is_told


def test_overlapping_sessions_are_told(tmp_path: Path) -> None:
    """The product keeps one session per user: how many lists that concerns, and why; none where sessions follow."""
    write_catalog(tmp_path / "catalog.jsonl", 12, 6)
    for width in (2, 20):  # how many of a user's events lie between two changes of the session
        sessions = [f"s{k % 2}" if width == 2 else f"s{k // width}" for k in range(200)]
        events = [event(k, "u", f"i{k * 7 % 12}", session_id=sessions[k]) for k in range(200)]
        result, told = told_of(tmp_path, events, "crossaisle", "popularity")
        misplaced = result["models"]["crossaisle"]["misplaced"]
        assert result["models"]["popularity"]["misplaced"] == 0
        assert (misplaced > 0) is (width == 2)
        n_lists = 4 * result["scored"]["n"]
        for words in told:
            counts = f"{misplaced:,} of {n_lists:,} lists of crossaisle ({misplaced / n_lists:.2%})"
            assert (counts in words) is (width == 2)
            assert ("sessions of a user that overlap, or events without a session" in words) is (width == 2)
            assert "lists of popularity" not in words


def test_json_is_one_line(shop: Path, tmp_path: Path) -> None:
    """With --json the command prints what metrics.json holds as one line, and nothing else."""
    command = ["evaluate", str(shop / "events.jsonl"), "--catalog", str(shop / "catalog.jsonl"), "--out", str(tmp_path)]
    done = CliRunner().invoke(app, [*command, "--limit", "900", "--model", "popularity", "--json"])
    assert done.exit_code == 0, done.output
    (line,) = done.stdout.splitlines()
    assert json.loads(line) == json.loads((tmp_path / "metrics.json").read_text())


def test_no_valid_event_is_an_error(tmp_path: Path) -> None:
    """A file of rubbish is an error, not a crash."""
    write_lines(tmp_path / "events.jsonl", ["rubbish"])
    write_catalog(tmp_path / "catalog.jsonl", 4, 2)
    with pytest.raises(EvaluationError, match="all 1 records were rejected"):
        evaluate_files(request_of(tmp_path, tmp_path / "out", ("popularity",)), Settings())
