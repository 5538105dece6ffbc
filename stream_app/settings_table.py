"""The table of all settings, as the README holds it: ``python -m stream_app.settings_table --write README.md``."""

import argparse
import re
from pathlib import Path

from stream_app.settings import PREFIX, Settings

MARKERS = ("<!-- settings:begin -->", "<!-- settings:end -->")


def settings_table() -> str:
    """Return the Markdown table of all settings, as the README holds it."""
    lines = ["| Variable | Default | Meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        if field.default_factory is not None:
            default = "user data directory"
        elif field.default in (None, ""):
            default = ""
        else:
            default = f"`{field.default}`"
        lines.append(f"| `{PREFIX}{name.upper()}` | {default} | {field.description} |")
    return "\n".join(lines)


def with_settings_table(text: str) -> str:
    """Return a document with the table put anew between its markers.

    Raises
    ------
    ValueError
        A marker is missing.
    """
    begin, end = MARKERS
    if begin not in text or end not in text:
        message = f"the document must hold {begin} and {end}"
        raise ValueError(message)
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n{settings_table()}\n{end}", text)


def _main() -> None:
    parser = argparse.ArgumentParser(description="Print the table of settings, or write it into a document.")
    parser.add_argument("--write", type=Path, help="document with the markers, usually README.md")
    path = parser.parse_args().write
    if path is None:
        print(settings_table())  # noqa: T201 - that is what the command is for
    else:
        path.write_text(with_settings_table(path.read_text()))


if __name__ == "__main__":
    _main()
