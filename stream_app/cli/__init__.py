"""The command ``crossaisle``: one module per subcommand; an error ends in one line on stderr and exit code 1."""

from stream_app.cli.errors import CommandError

__all__ = ["CommandError"]
