"""``crossaisle ope``: what another policy would have earned, from a log."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from operators.ope import Estimator, EvaluationParams
    from stream_app.ope import Evaluation
    from stream_app.ope_log import FileLog


class IntervalKind(StrEnum):
    """Kinds of interval, as `operators.ope.Interval`."""

    SKEW_CORRECTED = "skew-corrected"
    STUDENT_T = "student-t"
    BOOTSTRAP = "bootstrap"
    EMPIRICAL_BERNSTEIN = "empirical-bernstein"


def ope(
    log: Annotated[
        Path | None, typer.Argument(help="JSON Lines or CSV (plain, .gz, .zst), or Parquet: one row per slot.")
    ] = None,
    *,
    topics: Annotated[bool, typer.Option("--topics", help="Evaluate this application's own slates instead.")] = False,
    target: Annotated[
        str | None, typer.Option(metavar="POLICY", help="With --topics: an arm, or ARM=P,ARM=P with P summing to 1.")
    ] = None,
    pending: Annotated[
        bool, typer.Option("--pending", help="With --topics: count slates that can still earn something.")
    ] = False,
    estimators: Annotated[
        str | None,
        typer.Option(help="Of ips, snips, dr, slate-ips, rips, cascade-dr, by commas; all that the log allows."),
    ] = None,
    group_by: Annotated[str | None, typer.Option(metavar="COLUMN", help="Evaluate each value by itself.")] = None,
    clip: Annotated[float | None, typer.Option(help="Largest weight; larger ones are set to it.")] = None,
    alpha: Annotated[float, typer.Option(help="One minus the confidence of the intervals.")] = 0.05,
    interval: Annotated[IntervalKind, typer.Option(help="Kind of interval.")] = IntervalKind.SKEW_CORRECTED,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    resamples: Annotated[int, typer.Option(help="Logs that the bootstrap draws.")] = 2_000,
    reward_range: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Smallest and largest reward of a slot, for empirical-bernstein."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print each estimate as one line of JSON.")] = False,
) -> None:
    """Estimate what a target policy would have earned per slate, from a log of another policy's slates.

    Each row of LOG is a shown slot, with the columns position, propensity, target_propensity and reward, and optionally
    slate_id, q_logged and q_target. With --topics the log is what this application has published, joined with what
    users did, and the target another way to choose among its arms. docs/ope.md says which estimator to trust when.
    """
    from rich.console import Console

    from operators.ope import EvaluationParams, Interval
    from stream_app.cli import CommandError
    from stream_app.ope import evaluate_log
    from stream_app.ope_log import LogError

    wanted = _estimators(estimators)
    errors = Console(stderr=True)
    try:
        params = EvaluationParams(
            clip=clip,
            alpha=alpha,
            interval=Interval(interval.value),
            seed=seed,
            n_resamples=resamples,
            reward_range=reward_range,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    try:
        source = _source(log, group_by, errors, topics=topics, target=target, pending=pending)
        found = evaluate_log(source, wanted, params)
    except LogError as error:
        raise CommandError(str(error)) from error
    for note in (*source.notes, *(f"left out: {reason}" for reason in found.left_out)):
        errors.print(note, style="dim", markup=False, highlight=False)
    if not found.estimates:
        message = f"{source.path}: none of the estimators can be computed, for the reasons above"
        raise CommandError(message)
    if json:
        _print_json(found, group_by, params)
    else:
        _print_table(found, source, group_by, params, Console())


def _estimators(names: str | None) -> "list[Estimator] | None":
    from operators.ope import Estimator
    from stream_app.cli import CommandError

    if names is None:
        return None
    known = {str(estimator): estimator for estimator in Estimator}
    wanted = list(dict.fromkeys(name.strip() for name in names.split(",") if name.strip()))
    unknown = [name for name in wanted if name not in known]
    if unknown or not wanted:
        got = ", ".join(unknown) or "none"
        message = f"--estimators: got {got}, know {', '.join(known)}; name some of these, separated by commas"
        raise CommandError(message)
    return [known[name] for name in wanted]


def _source(
    path: Path | None, group_by: str | None, errors: "Console", *, topics: bool, target: str | None, pending: bool
) -> "FileLog":
    import time

    from stream_app.cli import CommandError
    from stream_app.cli.waiting import run_telling
    from stream_app.inspect import UnknownIdError
    from stream_app.ope_topics import joined_log, read_topics
    from stream_app.settings import Settings

    if (path is None) != topics:
        message = "give either a LOG, or --topics with --target"
        raise CommandError(message)
    if path is not None:
        if target is not None or pending:
            message = "--target and --pending are for --topics: a LOG says itself what its target is"
            raise CommandError(message)
        return _read(path, group_by, errors)
    if target is None:
        message = "--topics needs a --target: an arm's name, or ARM=P,ARM=P"
        raise CommandError(message)
    if group_by is not None:
        message = "--group-by is for a LOG: slates in the topic have no column that was known before they were drawn"
        raise CommandError(message)
    settings = Settings()
    try:
        attribution = run_telling(settings, read_topics(settings, time.time_ns() // 1_000_000))
    except UnknownIdError as error:
        raise CommandError(str(error)) from error
    return joined_log(settings, attribution, target, pending=pending)


def _read(path: Path, group_by: str | None, errors: "Console") -> "FileLog":
    from rich.markup import escape
    from rich.progress import Progress

    from stream_app.ope_log import read_log

    with Progress(console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task(f"reading {escape(path.name)}", total=1.0)
        return read_log(path, group_by=group_by, on_progress=lambda share: progress.update(task, completed=share))


def _print_json(found: "Evaluation", group_by: str | None, params: "EvaluationParams") -> None:
    import msgspec

    for estimate in found.estimates:
        typer.echo(msgspec.json.encode(estimate.to_record(group_by, params.clip)).decode())


def _print_table(
    found: "Evaluation", source: "FileLog", group_by: str | None, params: "EvaluationParams", console: "Console"
) -> None:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from stream_app.cli.terminal import counted

    log = source.log
    size = f"{source.path.name}: {counted(log.n_slates, 'slate')}, {counted(log.n_slots, 'slot')}"
    title = f"{size}; the log itself earned {log.reward.sum() / log.n_slates:.4g} a slate"
    table = Table(box=box.SIMPLE_HEAD, title=Text(title, style="table.title"))
    if group_by is not None:
        table.add_column(Text(group_by))
        table.add_column("slates", justify="right")
    table.add_column("estimator")
    table.add_column("value", justify="right", style="bold", no_wrap=True)
    for name in (f"{100 * (1 - params.alpha):.3g} % from", "to", "ESS, slates", "", "max weight"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("warnings", style="yellow")
    for line in found.estimates:
        estimate, spread = line.estimate, line.estimate.overlap
        numbers = (
            f"{estimate.value:.4g}",
            f"{estimate.lower:.4g}",
            f"{estimate.upper:.4g}",
            f"{spread.ess:,.0f}",
            f"{100 * spread.ess_share:.0f} %",
            f"{spread.max_weight:.3g}",
        )
        # Text, not markup: values of a column may hold brackets.
        group = [] if group_by is None else [Text(line.group or ""), Text(f"{estimate.n_slates:,}")]
        codes = ", ".join(caution.code for caution in estimate.cautions)
        table.add_row(*group, Text(str(estimate.estimator)), *(Text(number) for number in numbers), Text(codes))
    console.print(table)
    _print_warnings(found, console)


def _print_warnings(found: "Evaluation", console: "Console") -> None:
    """Print each warning once, with all that it is about."""
    about: dict[str, list[str]] = {}
    for line in found.estimates:
        who = str(line.estimate.estimator) if line.group is None else f"{line.group} {line.estimate.estimator}"
        for caution in line.estimate.cautions:
            about.setdefault(caution.message, []).append(who)
    for message, names in about.items():
        console.print(f"{', '.join(names)}: {message}", style="yellow", markup=False, highlight=False)
