"""The tables that ``crossaisle evaluate`` prints."""

from __future__ import annotations

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from stream_app.embedding_lengths import ONE_MODEL, lengths_told
from stream_app.evaluation.notes import listed, notes

Json = dict[str, Any]

RATINGS_HEAD = ("n", "MAE", "MSE", "RMSE", "accuracy", "precision", "recall", "F1", "ROC AUC")
RATINGS_NOTE = (
    "Stars of ratings, predicted before they were learned; liked is 4 and more. "
    "crossaisle's are of a head that only evaluations have: a worker publishes no stars"
)


def tables(result: Json) -> list[Table]:
    """Return the tables of an evaluation, from what ``metrics.json`` holds."""
    out = [_input(result), _lists(result), _details(result), *_exploration(result)]
    if ratings_rows(result):
        out.append(_ratings(result))
    if result["comparisons"]:
        out.append(_comparisons(result))
    return out


def share(cell: Json, digits: int = 4) -> str:
    """Return a mean with its standard error in units of the last digit's place, as in ``.1658±.0021``."""
    if cell["mean"] is None:
        return "-"
    mean = _short(cell["mean"], digits)
    return mean if cell["se"] is None else f"{mean}±{_short(cell['se'], digits)}"


def _short(number: float, digits: int) -> str:
    text = f"{number:.{digits}f}"
    return text.replace("0.", ".", 1) if text.lstrip("-").startswith("0.") else text


def _input(result: Json) -> Table:
    about, scored = result["input"], result["scored"]
    table = Table(show_header=False, box=None)
    table.add_row(
        "events", f"{about['n_events']:,} of {about['n_users']:,} users, {about['n_items_with_events']:,} items"
    )
    table.add_row("catalogue", f"{about['n_catalog']:,} items in {about['n_categories']:,} categories")
    if len(about["embeddings"]) > 1:
        lengths = lengths_told({int(length): n for length, n in about["embeddings"].items()})
        table.add_row("[red]embeddings", f"{lengths}: {ONE_MODEL}")
    table.add_row("listed there", listed(about))
    table.add_row("scored", f"{scored['n']:,}, of them {scored['n_crossing']:,} outside the context's categories")
    if about["n_ratings"]:
        silent = "" if ratings_rows(result) else "; none of these models predicts stars: add --model crossaisle"
        table.add_row("ratings", f"{about['n_ratings']:,}{silent}")
    for name in ("events", "catalog"):
        rejected = about[f"rejected_{name}"]
        if rejected["n"]:
            codes = ", ".join(f"{code} {n:,}" for code, n in rejected["by_code"].items())
            table.add_row(f"[red]rejected {name}", f"{rejected['n']:,} ({codes}); first: {escape(rejected['first'])}")
    if about["n_duplicates"]:
        table.add_row("[red]duplicates", f"{about['n_duplicates']:,} event ids that the user had just had, left out")
    if about["n_out_of_order"]:
        table.add_row("[red]out of order", f"{about['n_out_of_order']:,} events; all were sorted by time")
    for name, words in notes(result):
        table.add_row(f"[red]{name}", escape(words))
    return table


def _lists(result: Json) -> Table:
    table = _table("Hit rate at 10 ± standard error over users", ("model", "X", "O", "E", "slate", "slate new"))
    for name, model in result["models"].items():
        lists = model["lists"]
        cells = [lists[each]["all"]["hr"] for each in ("x", "o", "e", "slate")]
        table.add_row(name, *(share(cell) for cell in [*cells, lists["slate"]["explore"]["hr"]]))
    return table


def _details(result: Json) -> Table:
    heads = ("model", "X repeat", "X explore", "X newcat", "X NDCG", "log-loss", "AUC")
    table = _table("X by what the event was, and the candidates' probabilities", heads)
    for name, model in result["models"].items():
        x, odds = model["lists"]["x"], model["probabilities"]
        splits = (share(x[split]["hr"]) for split in ("repeat", "explore", "newcat"))
        table.add_row(name, *splits, share(x["all"]["ndcg"]), _mean(odds["log_loss"]), _mean(odds["auc"]))
    return table


def _mean(cell: Json) -> str:
    return "-" if cell["mean"] is None else f"{cell['mean']:.3f}"


def _table(title: str, heads: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for head in heads:
        left = head in {"model", "models"}
        table.add_column(head, justify="left" if left else "right", no_wrap=True)
    return table


def _exploration(result: Json) -> list[Table]:
    """Return the table of what exploration costs; none if no model explores."""
    found = {name: each for name, model in result["models"].items() if (each := model["exploration"]) is not None}
    table = _table(
        "Slates drawn as the policy draws them at first: hit rate, and against the slate without exploration",
        ("model", "drawn", "difference", "relative", "95 % from", "to"),
    )
    for name, each in found.items():
        ends = (each["relative"], each["low"], each["high"])
        relative = ("-" if end is None else f"{end:+.2%}" for end in ends)
        table.add_row(name, share(each["hr"]), _difference(each), *relative)
    return [table] if found else []


def _ratings(result: Json) -> Table:
    table = _table(RATINGS_NOTE, ("model", *RATINGS_HEAD))
    for name, *cells in ratings_rows(result):
        table.add_row(name, *cells)
    return table


def ratings_rows(result: Json) -> list[list[str]]:
    """Return a row per model that predicts ratings: its name, then what :data:`RATINGS_HEAD` says."""
    rows = []
    for name, model in result["models"].items():
        found = model["ratings"]
        if found:
            errors = (share({"mean": found[each], "se": found[f"{each}_se"]}) for each in ("mae", "mse"))
            others = ("rmse", "accuracy", "precision", "recall", "f1", "roc_auc")
            numbers = ("-" if found[each] is None else _short(found[each], 4) for each in others)
            rows.append([name, f"{found['n']:,}", *errors, *numbers])
    return rows


def _comparisons(result: Json) -> Table:
    rated = any(lists["ratings"] for lists in result["comparisons"].values())
    table = _table(
        "First model less the other: hit rate ± standard error over users, * p < 0.01"
        + (", and error of stars, below 0 where the first is better" if rated else ""),
        ("models", "X", "O", "E", "slate", *(("MAE",) if rated else ())),
    )
    for name, lists in result["comparisons"].items():
        cells = [lists[each]["hr"] for each in ("x", "o", "e", "slate")]
        stars = [_difference(lists["ratings"]["mae"]) if lists["ratings"] else "-"] if rated else []
        table.add_row(name, *map(_difference, cells), *stars)
    return table


def _difference(cell: Json) -> str:
    if cell["difference"] is None:
        return "-"
    if cell["se"] is None:
        return _short(cell["difference"], 4)
    star = "*" if cell["p"] < 0.01 else " "  # noqa: PLR2004 - the level named in the title
    return f"{_short(cell['difference'], 4)}±{_short(cell['se'], 4)}{star}"
