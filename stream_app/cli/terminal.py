"""Texts of others on a terminal: what would steer it is written out."""


def printable(text: str) -> str:
    r"""Return a text whose control characters are written as escapes: they could move, colour or turn around the line.

    Ids and titles come from whoever produces records; a terminal obeys what is in them.

    Examples
    --------
    >>> print(printable("ann\x1b[31m"))
    ann\x1b[31m
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
