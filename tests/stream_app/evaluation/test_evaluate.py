"""The command as a whole: files in, files out, twice the same bytes, and numbers that anyone can count again."""

from __future__ import annotations

import json
import math
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from stream_app.cli.main import app
from stream_app.evaluation import files
from stream_app.evaluation.files import Request, evaluate_files
from stream_app.evaluation.source import EvaluationError
from stream_app.settings import MAX_SEED, Settings
from stream_app.synthetic.files import write_synthetic
from stream_app.synthetic.params import KINDS, with_sizes
from tests.stream_app.evaluation.files_of import NOW_MS, event, write_catalog, write_lines

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
