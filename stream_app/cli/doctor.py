"""``crossaisle doctor``: looks at everything that a worker needs."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.doctor import Finding


def doctor(
    *,
    json_lines: Annotated[bool, typer.Option("--json", help="Print each finding as one line of JSON.")] = False,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Also make, write and delete a topic of its own: commits, and the broker's clock."
        ),
    ] = False,
) -> None:
    """Check settings, machine, broker, topics, rights, transactions, state and clocks; each finding has its remedy.

    Exits 1 when something is broken. Changes nothing, but for --probe.
    """
    import asyncio

    from stream_app.cli import CommandError

    findings = asyncio.run(_examine(probe=probe, show=_as_json if json_lines else _show))
    n_errors = sum(finding.severity == "error" for finding in findings)
    n_warnings = sum(finding.severity == "warning" for finding in findings)
    if n_errors:
        message = f"{n_errors} broken, {n_warnings} to be looked at: do what stands under remedy, and run it again"
        raise CommandError(message)
    if not json_lines:
        typer.echo(f"nothing is broken, {n_warnings} to be looked at" if n_warnings else "all is well")


async def _examine(*, probe: bool, show: "Callable[[Finding], None]") -> "list[Finding]":
    from stream_app.doctor import examine

    findings = []
    async for finding in examine(probe=probe):
        show(finding)
        findings.append(finding)
    return findings


def _as_json(finding: "Finding") -> None:
    import msgspec

    typer.echo(msgspec.json.encode(finding).decode())


def _show(finding: "Finding") -> None:
    from rich.console import Console
    from rich.text import Text

    mark, style = {
        "ok": ("ok", "green"),
        "warning": ("look", "yellow"),
        "error": ("broken", "bold red"),
        "skipped": ("skipped", "dim"),
    }[finding.severity]
    console = Console(highlight=False, soft_wrap=True)
    console.print(Text.assemble((f"{mark:<8}", style), (f"{finding.check:<13}", "bold"), finding.found))
    if finding.remedy:
        console.print(Text(f"{'':<21}wanted: {finding.wanted}", "dim"))
        console.print(Text(f"{'':<21}remedy: {finding.remedy}", style))
