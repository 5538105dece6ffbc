"""What a partition learned for all of its users, as the pages that stand in its state.

There are eight: the first with most of it, one with what reactions to slates taught, one with what belongs to content
vectors in the blend, one with what first times taught of discoveries, one with the perceptron, one with the mean of
its weights over time, one with what belongs to the co-occurrence with the latest items in blend and perceptron, and one
with the perceptron's vectors of categories. All but the first may be missing, and are not written before there is
something in them: a version that does not know them leaves them alone, and they count for nothing until they are
learned.
"""

import numpy as np

from operators.weights import (
    ACTIVE,
    GLOBALS,
    N_BEFORE,
    N_BEFORE_ACTIVE,
    N_BLEND,
    N_FIRST,
    N_FIRST_ACTIVE,
    N_HIDDEN,
    N_PLAIN,
    N_PLAIN_BEFORE,
    OF_HAD,
    OF_NONE,
    new_globals,
)
from state.arrays import Rows
from state.codec import KIND_GLOBALS, matrix, page_key

GLOBALS_KEY = page_key(0, KIND_GLOBALS)
REACTIONS_KEY = page_key(1, KIND_GLOBALS)
CONTENT_KEY = page_key(2, KIND_GLOBALS)
DISCOVERIES_KEY = page_key(3, KIND_GLOBALS)
PERCEPTRON_KEY = page_key(4, KIND_GLOBALS)
MEAN_PERCEPTRON_KEY = page_key(5, KIND_GLOBALS)
LATEST_KEY = page_key(6, KIND_GLOBALS)
CATEGORIES_KEY = page_key(7, KIND_GLOBALS)

_N_GRAM, _N_FIRST_GRAM, _N_BEFORE_GRAM = (n * (n + 1) // 2 for n in (ACTIVE.size, N_FIRST_ACTIVE, N_BEFORE_ACTIVE))
_ROWS_BEFORE = np.array([*range(N_PLAIN_BEFORE), OF_HAD, OF_NONE])
"""Rows of the perceptron that its pages have, in their order."""
_LATER_ROWS = slice(N_PLAIN_BEFORE, N_PLAIN)
_CUT = {
    "blend": ("<f4", (2, N_FIRST)),
    "blend_gram": ("<f4", (_N_FIRST_GRAM,)),
    "blend_pending": ("<f4", (N_FIRST_ACTIVE + 1,)),
}
"""Fields that the first page has the beginnings of; those of content vectors and of the latest items have the rest."""
_NAMES = GLOBALS.names or ()
_REACTIONS = tuple(name for name in _NAMES if name.startswith("reaction"))
_DISCOVERIES = tuple(name for name in _NAMES if name.startswith("discovery"))
_CATEGORIES = tuple(name for name in _NAMES if name.startswith("network_category"))
_PERCEPTRON = tuple(name for name in _NAMES if name.startswith("network") and name not in _CATEGORIES)
_MEANS = tuple(name for name in _NAMES if name.startswith("mean_network"))
_WHOLE = [
    name for name in _NAMES if name not in {*_CUT, *_REACTIONS, *_DISCOVERIES, *_PERCEPTRON, *_CATEGORIES, *_MEANS}
]
FIRST = np.dtype([(name, *_CUT[name]) if name in _CUT else (name, GLOBALS[name]) for name in [*_CUT, *_WHOLE]])
REACTIONS = np.dtype([(name, GLOBALS[name]) for name in _REACTIONS])
DISCOVERIES = np.dtype([(name, GLOBALS[name]) for name in _DISCOVERIES])
_ROW_FIELDS = ("network", "network_sq", "mean_network")
"""Fields of the perceptron that have a row for each feature."""


def _before(name: str) -> np.dtype[np.void]:
    """Return the type of a field of the perceptron in the pages of before the latest items were features."""
    return np.dtype(("<f4", (_ROWS_BEFORE.size, N_HIDDEN))) if name in _ROW_FIELDS else GLOBALS[name]


PERCEPTRON = np.dtype([(name, _before(name)) for name in _PERCEPTRON])
MEAN_PERCEPTRON = np.dtype(
    [
        ("network_n", "<u4"),  # as in the perceptron's page that was written with this one
        *((name, _before(name)) for name in _MEANS),
    ]
)
CONTENT = np.dtype(
    [
        ("ring_n", "<u4"),  # as in the first page that was written with this one
        ("blend", "<f4", (N_BEFORE - N_FIRST,)),  # of new items: for the others these features are 0
        ("blend_gram", "<f4", (_N_BEFORE_GRAM - _N_FIRST_GRAM,)),
        ("blend_pending", "<f4", (N_BEFORE_ACTIVE - N_FIRST_ACTIVE,)),
    ]
)
LATEST = np.dtype(
    [
        ("ring_n", "<u4"),  # as in the first page that was written with this one
        ("network_n", "<u4"),  # as in the perceptron's
        ("blend", "<f4", (2, N_BLEND - N_BEFORE)),
        ("blend_gram", "<f4", (_N_GRAM - _N_BEFORE_GRAM,)),
        ("blend_pending", "<f4", (ACTIVE.size - N_BEFORE_ACTIVE,)),
        *((name, "<f4", (N_PLAIN - N_PLAIN_BEFORE, N_HIDDEN)) for name in _ROW_FIELDS),
    ]
)
CATEGORIES = np.dtype(
    [
        ("network_n", "<u4"),  # as in the perceptron's page that was written with this one
        *((name, GLOBALS[name]) for name in _CATEGORIES),
    ]
)
LAYOUTS = {
    GLOBALS_KEY: FIRST,
    REACTIONS_KEY: REACTIONS,
    CONTENT_KEY: CONTENT,
    DISCOVERIES_KEY: DISCOVERIES,
    PERCEPTRON_KEY: PERCEPTRON,
    MEAN_PERCEPTRON_KEY: MEAN_PERCEPTRON,
    LATEST_KEY: LATEST,
    CATEGORIES_KEY: CATEGORIES,
}
"""Layout of each page by its key, in the order in which :func:`globals_of` takes them."""


def first_page(globals_: Rows) -> bytes:
    """Return the bytes of the first page."""
    out = np.zeros(1, FIRST)
    out["blend"] = globals_["blend"][:, :, :N_FIRST]
    out["blend_gram"] = globals_["blend_gram"][:, :_N_FIRST_GRAM]
    out["blend_pending"][:, :-1] = globals_["blend_pending"][:, :N_FIRST_ACTIVE]
    out["blend_pending"][:, -1] = globals_["blend_pending"][:, -1]
    for name in _WHOLE:
        out[name] = globals_[name]
    return out.tobytes()


def reaction_page(globals_: Rows) -> bytes:
    """Return the bytes of the page with what reactions taught."""
    return _part(globals_, REACTIONS)


def discovery_page(globals_: Rows) -> bytes:
    """Return the bytes of the page with what first times taught of discoveries."""
    return _part(globals_, DISCOVERIES)


def perceptron_page(globals_: Rows) -> bytes:
    """Return the bytes of the page with the perceptron."""
    return _part(globals_, PERCEPTRON)


def mean_perceptron_page(globals_: Rows) -> bytes:
    """Return the bytes of the page with the mean of the perceptron's weights over time."""
    return _part(globals_, MEAN_PERCEPTRON)


def content_page(globals_: Rows) -> bytes | None:
    """Return the bytes of the page of content vectors; None as long as nothing has been learned of them."""
    out = np.zeros(1, CONTENT)
    out["blend"] = globals_["blend"][:, 1, N_FIRST:N_BEFORE]
    out["blend_gram"] = globals_["blend_gram"][:, _N_FIRST_GRAM:_N_BEFORE_GRAM]
    out["blend_pending"] = globals_["blend_pending"][:, N_FIRST_ACTIVE:N_BEFORE_ACTIVE]
    if not any(out[name].any() for name in _CUT):
        return None
    out["ring_n"] = globals_["ring_n"]
    return out.tobytes()


def latest_page(globals_: Rows) -> bytes:
    """Return the bytes of the page with what belongs to the co-occurrence with the latest items."""
    out = np.zeros(1, LATEST)
    for name in ("ring_n", "network_n"):
        out[name] = globals_[name]
    out["blend"] = globals_["blend"][:, :, N_BEFORE:]
    out["blend_gram"] = globals_["blend_gram"][:, _N_BEFORE_GRAM:]
    out["blend_pending"] = globals_["blend_pending"][:, N_BEFORE_ACTIVE:-1]
    for name in _ROW_FIELDS:
        out[name] = globals_[name][:, _LATER_ROWS]
    return out.tobytes()


def categories_page(globals_: Rows) -> bytes:
    """Return the bytes of the page with the perceptron's vectors of categories."""
    return _part(globals_, CATEGORIES)


def globals_of(
    first: bytes,
    reactions: bytes | None = None,
    content: bytes | None = None,
    discoveries: bytes | None = None,
    perceptron: bytes | None = None,
    mean_perceptron: bytes | None = None,
    latest: bytes | None = None,
    categories: bytes | None = None,
) -> Rows:
    """Return what a partition learned, shape ``(1,)``, dtype :data:`operators.weights.GLOBALS`, from its pages.

    Raises
    ------
    state.codec.LayoutError
        A page was written by another version.
    """
    out = new_globals()
    page = _read(first, FIRST)
    out["blend"][:, :, :N_FIRST] = page["blend"]
    out["blend_gram"][:, :_N_FIRST_GRAM] = page["blend_gram"]
    out["blend_pending"][:, :N_FIRST_ACTIVE] = page["blend_pending"][:, :-1]
    out["blend_pending"][:, -1] = page["blend_pending"][:, -1]
    for name in _WHOLE:
        out[name] = page[name]
    for part, dtype in ((reactions, REACTIONS), (discoveries, DISCOVERIES), (perceptron, PERCEPTRON)):
        if part is not None:
            page = _read(part, dtype)
            for name in dtype.names or ():
                _take(out, name, page)
    _take_means(out, mean_perceptron)
    if content is not None:
        page = _read(content, CONTENT)
        out["blend"][:, 1, N_FIRST:N_BEFORE] = page["blend"]
        if page["ring_n"][0] == out["ring_n"][0]:  # else a version without this page has learned since
            out["blend_gram"][:, _N_FIRST_GRAM:_N_BEFORE_GRAM] = page["blend_gram"]
            out["blend_pending"][:, N_FIRST_ACTIVE:N_BEFORE_ACTIVE] = page["blend_pending"]
    _take_latest(out, latest)
    if categories is not None:
        page = _read(categories, CATEGORIES)
        if page["network_n"][0] == out["network_n"][0]:  # else the hidden units have learned to do without them
            for name in _CATEGORIES:
                out[name] = page[name]
    return out


def _take(out: Rows, name: str, page: Rows) -> None:
    if name in _ROW_FIELDS:
        out[name][:, _ROWS_BEFORE] = page[name]
    else:
        out[name] = page[name]


def _take_latest(out: Rows, latest: bytes | None) -> None:
    """Take what belongs to the latest items; where the perceptron has learned without it, that begins with nothing."""
    page = None if latest is None else _read(latest, LATEST)
    if page is not None:
        out["blend"][:, :, N_BEFORE:] = page["blend"]
        if page["ring_n"][0] == out["ring_n"][0]:
            out["blend_gram"][:, _N_BEFORE_GRAM:] = page["blend_gram"]
            out["blend_pending"][:, N_BEFORE_ACTIVE:-1] = page["blend_pending"]
    if page is not None and page["network_n"][0] == out["network_n"][0]:
        for name in _ROW_FIELDS:
            out[name][:, _LATER_ROWS] = page[name]
    elif out["network_n"][0]:
        out["network"][:, _LATER_ROWS] = out["mean_network"][:, _LATER_ROWS] = 0.0
        squares = out["network_sq"]
        squares[:, _LATER_ROWS] = squares[:, :N_PLAIN_BEFORE].mean(axis=1, keepdims=True)


def _take_means(out: Rows, mean_perceptron: bytes | None) -> None:
    """Take the mean of the perceptron's weights from its page, or, where that is missing or behind, the weights."""
    for name in _MEANS:
        out[name] = out[name.removeprefix("mean_")]
    if mean_perceptron is not None:
        page = _read(mean_perceptron, MEAN_PERCEPTRON)
        if page["network_n"][0] == out["network_n"][0]:  # else a version without this page has learned since
            for name in _MEANS:
                _take(out, name, page)


def _part(globals_: Rows, dtype: np.dtype[np.void]) -> bytes:
    out = np.zeros(1, dtype)
    for name in dtype.names or ():
        out[name] = globals_[name][:, _ROWS_BEFORE] if name in _ROW_FIELDS else globals_[name]
    return out.tobytes()


def _read(page: bytes, dtype: np.dtype[np.void]) -> Rows:
    return matrix([page], dtype).view(dtype).reshape(1)
