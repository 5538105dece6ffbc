"""Says what is wrong with settings: the variable, what was wanted, what arrived. A secret is never repeated."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from pydantic import SecretStr

from stream_app.settings import PREFIX, Settings

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_DOTENV: Final = Path(".env")
_PLAINER: Final = (
    ("Value error, ", ""),
    ("Input should be a valid integer, got a number with a fractional part", "must be a whole number"),
    ("Input should be a valid integer, unable to parse string as an integer", "must be a whole number"),
    ("Input should be a valid number, unable to parse string as a number", "must be a number"),
    ("Input should be", "must be"),
    ("String should", "must"),
)
"""What pydantic says, and the same in plain words."""


def settings_problems(problem: ValidationError) -> list[str]:
    """Return a sentence for each wrong setting.

    Examples
    --------
    >>> from pydantic import ValidationError
    >>> try:
    ...     Settings(web_port="a lot")
    ... except ValidationError as problem:
    ...     print(settings_problems(problem))
    ["CROSSAISLE_WEB_PORT: must be a whole number, got 'a lot'"]
    """
    return [_sentence(wrong) for wrong in problem.errors()]


def _sentence(wrong: ErrorDetails) -> str:
    words = wrong["msg"]
    for theirs, ours in _PLAINER:
        words = words.replace(theirs, ours)
    if not wrong["loc"]:  # settings that do not fit together: the sentence names them, and the input is all of them
        return words
    name = str(wrong["loc"][0])
    got = "" if _is_secret(name) else f", got {wrong['input']!r}"
    return f"{PREFIX}{name.upper()}: {words}{got}"


def _is_secret(name: str) -> bool:
    field = Settings.model_fields.get(name)
    return field is not None and field.annotation == SecretStr | None


def dotenv_problem(path: Path = _DOTENV) -> str | None:
    """Return what keeps the file of settings from being read, and the remedy; None if nothing does, or it is not there.

    Parameters
    ----------
    path
        The file, ``.env`` in the working directory if not given.
    """
    try:
        if path.is_file():
            path.read_text(encoding="utf-8")
    except OSError as error:
        return f"{path}: {error.strerror or error}; make it readable, or remove it"
    except UnicodeDecodeError as error:
        return f"{path}: not UTF-8 at byte {error.start}; write it anew as UTF-8 text"
    return None
