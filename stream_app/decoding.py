"""Reading records and answers that somebody else may have written: no bytes of theirs may end a command or a worker."""

from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

UNREADABLE: Final = (ValueError, RecursionError)
"""What decoding raises for bytes of another shape. msgspec's errors are ValueErrors, as is a UnicodeDecodeError. Where
brackets are nested too deeply, be it in a field that nobody reads, it is a RecursionError."""

_Decoded = TypeVar("_Decoded")


def decode_or_none(decode: "Callable[[bytes], _Decoded]", raw: bytes | None) -> _Decoded | None:
    """Return what a decoder makes of bytes, None where there are none or they are of another shape.

    Examples
    --------
    >>> import msgspec
    >>> decode_or_none(msgspec.json.decode, b'{"a": 1}')
    {'a': 1}
    >>> decode_or_none(msgspec.json.decode, b"[" * 60_000) is None
    True
    """
    if raw is None:
        return None
    try:
        return decode(raw)
    except UNREADABLE:
        return None
