"""The report of an evaluation: one HTML file with tables and plots, made from what ``metrics.json`` holds."""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any, Final

from stream_app.evaluation.charts import Axis, Series, bar_chart, fitting_axis, line_chart, signed_bars
from stream_app.evaluation.measures import LEAST_USERS
from stream_app.evaluation.notes import listed, notes
from stream_app.evaluation.protocol import LISTS
from stream_app.evaluation.table import RATINGS_HEAD, RATINGS_NOTE, ratings_rows, share

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Json = dict[str, Any]

_TEMPLATE: Final = Path(__file__).with_name("report.html")
_NAMES: Final = {"x": "X", "o": "O", "e": "E", "slate": "slate"}
_MOST_WEIGHTS: Final = 40


def render(result: Json) -> str:
    """Return the report as HTML; it refers to nothing outside."""
    scored, about = result["scored"], result["input"]
    lead = (
        f"{about['n_events']:,} events of {about['n_users']:,} users; after a warm-up of {about['warmup']:.0%} "
        f"{scored['n']:,} were scored (one in {about['score_every']:,}), each before it was learned. "
        "X: items whose category is not in the context. O: items not in the context. E: like X, never had. "
        f"Slate: as published. Bands are two standard errors over users. The catalogue lists {listed(about)}."
    )
    told = "\n".join(f"<p><strong>{escape(name)}</strong>: {escape(words)}.</p>" for name, words in notes(result))
    sections = [section for make in _SECTIONS if (section := make(result))]
    return Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        events=escape(about["events"]), lead=escape(lead), notes=told, sections="\n".join(sections)
    )


def _section(title: str, body: str, note: str = "", *, wide: bool = False) -> str:
    kind = ' class="wide"' if wide else ""
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    return f"<section{kind}><h2>{escape(title)}</h2>{body}{below}</section>"


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table; all text in it is escaped."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"


def _lists(result: Json) -> str:
    rows = []
    for name, model in result["models"].items():
        lists = model["lists"]
        cells = [lists[each]["all"]["hr"] for each in LISTS]
        ndcg = [lists[each]["all"]["ndcg"] for each in ("x", "slate")]
        splits = [lists["x"][split]["hr"] for split in ("repeat", "explore", "newcat")]
        splits += [lists["slate"]["explore"]["hr"]]
        rows.append([name, *(share(cell) for cell in [*cells, *ndcg, *splits])])
    head = ["model", "X", "O", "E", "slate", "X NDCG", "slate NDCG", "X repeat", "X explore", "X newcat"]
    return _section("Hit rate and NDCG at ten", html_table([*head, "slate explore"], rows), wide=True)


def _comparisons(result: Json) -> str:
    rows = []
    for name, lists in result["comparisons"].items():
        for each in LISTS:
            cell = lists[each]["hr"]
            if cell["difference"] is not None:
                only = f"{cell['only_ours']:,} / {cell['only_theirs']:,}"
                rows.append([name, _NAMES[each], *_tested(cell), only, f"{cell['mcnemar_p']:.2g}"])
        if lists["ratings"]:
            cells = [(f"{each.upper()} of stars", lists["ratings"][each]) for each in ("mae", "mse")]
            rows += [[name, what, *_tested(cell), "-", "-"] for what, cell in cells if cell["difference"] is not None]
    if not rows:
        return ""
    head = ["models", "list", "difference", "z", "p", "only first / only second", "p (McNemar)"]
    note = (
        "Paired event by event; standard errors over users, since a user's events are alike: none with fewer than "
        f"{LEAST_USERS} users. McNemar's test takes events as independent. Errors of stars are better below 0."
    )
    return _section("What the first model beats", html_table(head, rows), note, wide=True)


def _tested(cell: Json) -> list[str]:
    """Return difference, z and p of a paired test, as far as there are enough users for them."""
    if cell["se"] is None:
        return [f"{cell['difference']:+.4f}", "-", "-"]
    z = "-" if cell["z"] is None else f"{cell['z']:+.1f}"
    return [f"{cell['difference']:+.4f} ± {cell['se']:.4f}", z, f"{cell['p']:.2g}"]


def _exploration(result: Json) -> str:
    rows = []
    for name, model in result["models"].items():
        each = model["exploration"]
        if each is not None and each["relative"] is not None:
            interval = "-" if each["low"] is None else f"{each['low']:+.2%} to {each['high']:+.2%}"
            rows.append([name, share(each["hr"]), f"{each['difference']:+.4f}", f"{each['relative']:+.2%}", interval])
    if not rows:
        return ""
    head = ["model", "hit rate, drawn", "less the slate's", "relative", "95 % interval"]
    note = "Slates drawn as the policy does before it knows any reward, against those without exploration, by user."
    return _section("What exploration costs", html_table(head, rows), note, wide=True)


def _over_time(result: Json) -> str:
    def chart(name: str) -> str:
        series = []
        for model, numbers in result["models"].items():
            cells = [part[name] for part in numbers["by_time"].values()]
            x = [(k + 0.5) / len(cells) for k in range(len(cells))]
            series.append(Series(model, x, [c["mean"] for c in cells], [c["se"] for c in cells]))
        high = fitting_axis("hit rate", series)
        return line_chart(series, Axis("share of the scored events", 0.0, 1.0), high)

    return "".join(_section(f"{_NAMES[name]} over time", chart(name)) for name in LISTS)


def _bars(title: str, pick: Callable[[Json], dict[str, float | None]], note: str = "") -> Callable[[Json], str]:
    """Return what makes a section of bars, one per model, from the numbers that ``pick`` takes of a model."""

    def make(result: Json) -> str:
        picked = {name: pick(model) for name, model in result["models"].items()}
        labels = list(dict.fromkeys(label for numbers in picked.values() for label in numbers))
        if not labels:
            return ""
        series = [
            Series(name, range(len(labels)), [numbers.get(label) for label in labels])
            for name, numbers in picked.items()
            if numbers
        ]
        return _section(title, bar_chart(labels, series, "hit rate"), note)

    return make


def _group(group: str, name: str) -> Callable[[Json], dict[str, float | None]]:
    return lambda model: {label: cells[name]["mean"] for label, cells in model[group].items()}


def _calibration(result: Json) -> str:
    series = []
    for name, model in result["models"].items():
        bins = [row for row in model["calibration"] if row["observed"] > 0]
        if bins:
            series.append(Series(name, [row["predicted"] for row in bins], [row["observed"] for row in bins]))
    if not series:
        return ""
    low = min(number for each in series for number in (*each.x, *each.y) if number is not None)
    axis = (max(low, 1e-9), 1.0)
    chart = line_chart(
        series, Axis("predicted probability", *axis, log=True), Axis("share taken", *axis, log=True), diagonal=True
    )
    return _section("Calibration", chart, "Candidates by their predicted probability; on the dashed line it is true.")


def _roc(result: Json) -> str:
    series = []
    for name, model in result["models"].items():
        n_true = sum(row["n"] * row["observed"] for row in model["calibration"])
        n_false = sum(row["n"] * (1 - row["observed"]) for row in model["calibration"])
        if not n_true:
            continue
        x, y, at_x, at_y = [0.0], [0.0], 0.0, 0.0
        for row in reversed(model["calibration"]):
            at_x += row["n"] * (1 - row["observed"]) / max(n_false, 1.0)
            at_y += row["n"] * row["observed"] / n_true
            x.append(at_x)
            y.append(at_y)
        series.append(Series(name, x, y))
    if not series:
        return ""
    chart = line_chart(
        series, Axis("other candidates above the threshold", 0.0, 1.0), Axis("true items above it", 0.0, 1.0),
        diagonal=True,
    )  # fmt: skip
    return _section("ROC of the candidates' probabilities", chart, "All scored events pooled.")


def _spread(result: Json) -> str:
    rows = []
    for name, model in result["models"].items():
        for each in LISTS:
            cell = model["spread"][each]
            gini = "-" if cell["gini"] is None else f"{cell['gini']:.3f}"
            rows.append(
                [
                    name,
                    _NAMES[each],
                    share(cell["categories"], 2),
                    f"{cell['n_items']:,}",
                    f"{cell['coverage']:.1%}",
                    gini,
                ]
            )
    head = ["model", "list", "categories of a list", "items ever listed", "coverage of the catalogue", "Gini index"]
    return _section("Coverage and concentration", html_table(head, rows), "A Gini index of 0 is even, 1 is one item.")


def _ratings(result: Json) -> str:
    rows = ratings_rows(result)
    if not rows:
        return ""
    note = f"{RATINGS_NOTE}. Standard errors over users."
    return _section("Ratings", html_table(["model", *RATINGS_HEAD], rows), note, wide=True)


def _cold_start(result: Json) -> str:
    rows = []
    for name, model in result["models"].items():
        first, new = model["cold_start"]["first_slate_after_one_event"], model["cold_start"]["new_items"]
        rows.append(
            [name, *(share(first[each]) for each in ("x", "slate")), f"{first['slate']['n']:,}", f"{new['n']:,}",
             *(f"{new[each]:.1%}" for each in ("before_first_event", "before_second_event", "before_tenth_event"))]
        )  # fmt: skip
    head = ["model", "X after one event", "slate after one event", "n", "new items", "listed before event 1"]
    note = "New items: first seen after the warm-up, in the catalogue, with ten events or more by the end."
    return _section("Cold start", html_table([*head, "before 2", "before 10"], rows), note, wide=True)


def _weights(result: Json) -> str:
    out = []
    for name, model in result["models"].items():
        for head, weights in model["weights"].items():
            largest = sorted(weights.items(), key=lambda pair: (-abs(pair[1]), pair[0]))[:_MOST_WEIGHTS]
            chart = signed_bars([label for label, _ in largest], [weight for _, weight in largest])
            out.append(_section(f"What the features weigh: {name}, {head}", chart))
    return "".join(out)


_SECTIONS: Final[tuple[Callable[[Json], str], ...]] = (
    _lists,
    _comparisons,
    _exploration,
    _ratings,
    _over_time,
    _bars(
        "X by what the event was",
        lambda model: {split: cell["hr"]["mean"] for split, cell in model["lists"]["x"].items()},
        "Repeat: had before. Explore: never had. Newcat: of a category new to the user.",
    ),
    _bars(
        "Slate by what the event was",
        lambda model: {split: cell["hr"]["mean"] for split, cell in model["lists"]["slate"].items()},
    ),
    _bars("X by the user's events before", _group("by_user_events", "x")),
    _bars("E by the user's events before", _group("by_user_events", "e")),
    _bars("X by the item's events before", _group("by_item_events", "x")),
    _bars("X by category, the largest ones", _group("by_category", "x")),
    _cold_start,
    _calibration,
    _roc,
    _spread,
    _weights,
)
