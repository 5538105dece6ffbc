"""The command ``crossaisle``: one module per subcommand; an error ends in one line on stderr and exit code 1."""


class CommandError(Exception):
    """A command cannot do its work; the message names the remedy and is all that the user sees."""


__all__ = ["CommandError"]
