"""The documentation's pages, and what is in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS.rglob("*.md")])


def name_of(page: Path) -> str:
    """Return how a page is called in the repository."""
    return str(page.relative_to(ROOT))


def shell_lines(text: str) -> list[str]:
    """Return the command lines of all shell blocks, continued ones joined, without comments."""
    lines = []
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL):
        for line in re.sub(r"\\\n\s*", " ", block).splitlines():
            bare = line.strip().removeprefix("$ ")
            if bare and not bare.startswith("#"):
                lines.append(re.sub(r"\s+#.*", "", bare))
    return lines


def inline_code(text: str) -> list[str]:
    """Return what stands between single backticks, outside of blocks."""
    without_blocks = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", without_blocks)]


def slug(heading: str) -> str:
    """Return the anchor that a heading gets."""
    bare = re.sub(r"[`*\[\]]|\(.*?\)", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", bare).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
