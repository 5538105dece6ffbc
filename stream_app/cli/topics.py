"""``crossaisle topics``: make the topics, or check them."""

import asyncio
import json
from typing import Annotated

import typer

app = typer.Typer(help="Make or check every topic.", no_args_is_help=True)
_JSON = typer.Option("--json", help="Print JSON Lines.")


@app.command()
def create(
    *,
    partitions: Annotated[int | None, typer.Option(min=1, help="Partitions of new topics.")] = None,
    replication_factor: Annotated[int | None, typer.Option(min=1, help="Replicas of new topics.")] = None,
    json_lines: Annotated[bool, _JSON] = False,
) -> None:
    """Make every topic that is not there yet, with its settings; those that are stay as they are."""
    from stream_app.settings import Settings
    from stream_app.topics import create_topics

    settings = Settings()
    made = asyncio.run(
        create_topics(settings, partitions or settings.partitions, replication_factor or settings.replication_factor)
    )
    for name in made:
        typer.echo(json.dumps({"topic": name, "made": True}) if json_lines else f"made {name}")
    if not made and not json_lines:
        typer.echo("all topics are there")
    check(partitions=partitions, json_lines=json_lines, quiet=True)


@app.command()
def check(
    *,
    partitions: Annotated[
        int | None, typer.Option(min=1, help="Partitions that events and item-updates must have.")
    ] = None,
    json_lines: Annotated[bool, _JSON] = False,
    quiet: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Check every topic: there, partitions, settings. Exits 1 when something is wrong, and names the remedy."""
    from stream_app.cli import CommandError
    from stream_app.settings import Settings
    from stream_app.topics import check_topics

    findings = asyncio.run(check_topics(Settings(), partitions))
    for finding in findings:
        if json_lines:
            line = {"topic": finding.topic, "problem": finding.problem, "remedy": finding.remedy}
            typer.echo(json.dumps(line))
        else:
            typer.echo(f"{finding.topic}: {finding.problem}\n  remedy: {finding.remedy}")
    if findings:
        what = "1 thing is" if len(findings) == 1 else f"{len(findings)} things are"
        message = f"{what} wrong with the topics: do what stands under remedy"
        raise CommandError(message)
    if not json_lines and not quiet:
        typer.echo("all topics are as they must be")
