"""Entry point of the command ``crossaisle``: registers the subcommands and turns errors into one line each."""

import logging
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from stream_app.cli import CommandError
from stream_app.cli.broker import broker
from stream_app.cli.dataset import app as dataset_app
from stream_app.cli.demo import demo
from stream_app.cli.doctor import doctor
from stream_app.cli.evaluate import evaluate
from stream_app.cli.inspect import InspectCommand, inspect
from stream_app.cli.lag import lag
from stream_app.cli.ope import ope
from stream_app.cli.policy import policy
from stream_app.cli.produce import produce
from stream_app.cli.schema import app as schema_app
from stream_app.cli.topics import app as topics_app
from stream_app.cli.watch import watch
from stream_app.cli.worker import worker

app = typer.Typer(
    name="crossaisle",
    help="A streaming recommender on Kafka: events in, cross-category slates out, every event learned once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(broker)
app.add_typer(topics_app, name="topics")
app.command()(worker)
app.command()(produce)
app.command()(watch)
app.command()(lag)
app.command(cls=InspectCommand)(inspect)
app.command()(policy)
app.command()(doctor)
app.command()(ope)
app.add_typer(dataset_app, name="dataset")
app.command()(evaluate)
app.add_typer(schema_app, name="schema")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"crossaisle {version('crossaisle')}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run the command; errors that a user can mend are one line on stderr, exit code 1."""
    logging.getLogger().addHandler(logging.NullHandler())  # what libraries warn of; a worker puts its own log there
    try:
        app()
    except CommandError as error:
        _fail(str(error))
    except Exception as error:
        message = _known_error(error)
        if message is None:
            raise
        _fail(message)


def _known_error(error: Exception) -> str | None:
    """Return the sentence for an error that settings, the broker or a file brought about; None for a defect."""
    import asyncio

    from aiokafka.errors import KafkaConnectionError, KafkaError
    from pydantic import ValidationError

    from stream_app.broker import BrokerError
    from stream_app.kafka import TlsError
    from stream_app.probe import AccessError
    from stream_app.rights import refusal
    from stream_app.settings import Settings
    from stream_app.topics import TopicError
    from stream_app.unreachable import why_not
    from stream_app.wrong_settings import dotenv_problem, settings_problems

    if isinstance(error, ValidationError):
        return f"{settings_problems(error)[0]}; correct it in the environment or in .env"
    if isinstance(error, OSError | UnicodeDecodeError):
        problem = dotenv_problem()
        if problem is not None:
            return problem
    is_told = isinstance(error, AccessError | BrokerError | TopicError | TlsError)
    if not is_told and (isinstance(error, KafkaConnectionError) or refusal(error) is not None):
        return asyncio.run(why_not(Settings(), error, ()))
    if is_told or isinstance(error, KafkaError):
        return str(error)
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
    return None


def _fail(message: str) -> None:
    typer.echo(f"error: {message}", err=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
