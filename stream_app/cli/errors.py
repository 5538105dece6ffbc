"""The error that ends a command in one line."""


class CommandError(Exception):
    """A command cannot do its work; the message names the remedy and is all that the user sees."""
