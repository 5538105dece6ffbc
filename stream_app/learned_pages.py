"""What a partition learned for all of its users, as the pages that stand in its state.

There are six: the first with most of it, one with what reactions to slates taught, one with what belongs to content
vectors in the blend, one with what first times taught of discoveries, one with the perceptron, and one with the mean of
its weights over time. All but the first may be missing, and are not written before there is something in them: a
version that does not know them leaves them alone, and they count for nothing until they are learned.
"""

import numpy as np

from operators.arrays import ACTIVE, GLOBALS, N_BLEND, N_FIRST, N_FIRST_ACTIVE, new_globals
from state.arrays import Rows
from state.codec import KIND_GLOBALS, matrix, page_key

GLOBALS_KEY = page_key(0, KIND_GLOBALS)
REACTIONS_KEY = page_key(1, KIND_GLOBALS)
CONTENT_KEY = page_key(2, KIND_GLOBALS)
DISCOVERIES_KEY = page_key(3, KIND_GLOBALS)
PERCEPTRON_KEY = page_key(4, KIND_GLOBALS)
MEAN_PERCEPTRON_KEY = page_key(5, KIND_GLOBALS)

_N_GRAM, _N_FIRST_GRAM = ACTIVE.size * (ACTIVE.size + 1) // 2, N_FIRST_ACTIVE * (N_FIRST_ACTIVE + 1) // 2
_CUT = {
    "blend": ("<f4", (2, N_FIRST)),
    "blend_gram": ("<f4", (_N_FIRST_GRAM,)),
    "blend_pending": ("<f4", (N_FIRST_ACTIVE + 1,)),
}
"""The fields that the third page has the ends of."""
_NAMES = GLOBALS.names or ()
_REACTIONS = tuple(name for name in _NAMES if name.startswith("reaction"))
_DISCOVERIES = tuple(name for name in _NAMES if name.startswith("discovery"))
_PERCEPTRON = tuple(name for name in _NAMES if name.startswith("network"))
_MEANS = tuple(name for name in _NAMES if name.startswith("mean_network"))
_WHOLE = [name for name in _NAMES if name not in {*_CUT, *_REACTIONS, *_DISCOVERIES, *_PERCEPTRON, *_MEANS}]
FIRST = np.dtype([(name, *_CUT[name]) if name in _CUT else (name, GLOBALS[name]) for name in [*_CUT, *_WHOLE]])
REACTIONS = np.dtype([(name, GLOBALS[name]) for name in _REACTIONS])
DISCOVERIES = np.dtype([(name, GLOBALS[name]) for name in _DISCOVERIES])
PERCEPTRON = np.dtype([(name, GLOBALS[name]) for name in _PERCEPTRON])
MEAN_PERCEPTRON = np.dtype(
    [
        ("network_n", "<u4"),  # as in the perceptron's page that was written with this one
        *((name, GLOBALS[name]) for name in _MEANS),
    ]
)
CONTENT = np.dtype(
    [
        ("ring_n", "<u4"),  # as in the first page that was written with this one
        ("blend", "<f4", (N_BLEND - N_FIRST,)),  # of new items: for the others these features are 0
        ("blend_gram", "<f4", (_N_GRAM - _N_FIRST_GRAM,)),
        ("blend_pending", "<f4", (ACTIVE.size - N_FIRST_ACTIVE,)),
    ]
)
LAYOUTS = {
    GLOBALS_KEY: FIRST,
    REACTIONS_KEY: REACTIONS,
    CONTENT_KEY: CONTENT,
    DISCOVERIES_KEY: DISCOVERIES,
    PERCEPTRON_KEY: PERCEPTRON,
    MEAN_PERCEPTRON_KEY: MEAN_PERCEPTRON,
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
    out["blend"] = globals_["blend"][:, 1, N_FIRST:]
    out["blend_gram"] = globals_["blend_gram"][:, _N_FIRST_GRAM:]
    out["blend_pending"] = globals_["blend_pending"][:, N_FIRST_ACTIVE:-1]
    if not any(out[name].any() for name in _CUT):
        return None
    out["ring_n"] = globals_["ring_n"]
    return out.tobytes()


def globals_of(
    first: bytes,
    reactions: bytes | None = None,
    content: bytes | None = None,
    discoveries: bytes | None = None,
    perceptron: bytes | None = None,
    mean_perceptron: bytes | None = None,
) -> Rows:
    """Return what a partition learned, shape ``(1,)``, dtype :data:`operators.arrays.GLOBALS`, from its pages.

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
                out[name] = page[name]
    _take_means(out, mean_perceptron)
    if content is not None:
        page = _read(content, CONTENT)
        out["blend"][:, 1, N_FIRST:] = page["blend"]
        if page["ring_n"][0] == out["ring_n"][0]:  # else a version without this page has learned since
            out["blend_gram"][:, _N_FIRST_GRAM:] = page["blend_gram"]
            out["blend_pending"][:, N_FIRST_ACTIVE:-1] = page["blend_pending"]
    return out


def _take_means(out: Rows, mean_perceptron: bytes | None) -> None:
    """Take the mean of the perceptron's weights from its page, or, where that is missing or behind, the weights."""
    for name in _MEANS:
        out[name] = out[name.removeprefix("mean_")]
    if mean_perceptron is not None:
        page = _read(mean_perceptron, MEAN_PERCEPTRON)
        if page["network_n"][0] == out["network_n"][0]:  # else a version without this page has learned since
            for name in _MEANS:
                out[name] = page[name]


def _part(globals_: Rows, dtype: np.dtype[np.void]) -> bytes:
    out = np.zeros(1, dtype)
    for name in dtype.names or ():
        out[name] = globals_[name]
    return out.tobytes()


def _read(page: bytes, dtype: np.dtype[np.void]) -> Rows:
    return matrix([page], dtype).view(dtype).reshape(1)
