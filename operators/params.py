"""Small frozen parameter sets of the kernels, and the half-lives and sizes that are the same everywhere."""

from typing import NamedTuple

FAST_DAYS = 14.0
"""Half-life of a user's fast counts, in days."""
SLOW_DAYS = 90.0
"""Half-life of a user's slow counts, in days."""
POPULARITY_DAYS = (3.0, 14.0, 90.0, 7.0, 30.0)
"""Half-lives of the popularities of an entity, in days: of all events, then of users' first events with it."""
N_OVERALL = 3
"""How many of the popularities count all events."""
P_SHORT, P_MIDDLE, P_LONG, P_FIRST_SHORT, P_FIRST_LONG = 0, 1, 2, 3, 4
COOC_DAYS = 120.0
"""Half-life of co-occurrence, in days."""
COOC_EPOCH_DAYS = 7305.0
"""2020-01-01 in days since 2000: where a forward-decayed co-occurrence weight is 1."""
MAX_ITEMS = 512
"""Personal items kept per user; the weakest slow count is evicted."""
MAX_CATEGORIES = 256
"""Categories kept per user."""
MAX_CONTEXT = 256
"""Items of one session kept per user."""
N_SHARED_CATEGORIES = 128
"""Categories that are candidates for everybody: the most popular ones, or all, where there are no more."""
MAX_NEIGHBOURS = 64
"""Co-occurring entities kept per entity."""
MAX_BITS = 64
"""Context categories that are told apart when earlier sessions are compared with the present one."""
AFFINITY_PRIOR = 2.0
"""Made-up events of a user that take attributes as everybody does."""
VOTE_PRIOR = 0.01
"""What is added to the votes of earlier sessions before their logarithm is taken."""
N_CATEGORY_TOP = 16
"""Most popular items kept per category."""
N_CATEGORY_NEW = 16
"""Items kept per category that were listed last and are hardly known yet."""
NEW_EVENTS = 10
"""Events from which on an item is no longer new."""
NEW_DAYS = 30.0
"""Days after which a listed item is no longer new, however few its events."""
CONTENT_TABLES, CONTENT_VALUES = 8, 256
"""Bytes of the signature of a content vector, and the values of each."""
N_GLOBAL_TOP = 128
"""Most popular items kept over all."""
MAX_NEGATIVES = 32
"""Negatives of one factor step at the most."""
N_SCAN = 2048
"""Most popular items that recall scores by their factors, whoever the user is."""


class LearnParams(NamedTuple):
    """How strongly and how widely one event teaches.

    Attributes
    ----------
    rate
        Learning rate of the row-wise Adagrad of the factors.
    blend_memory
        Events that the category model and the blend remember, of those that teach them.
    n_negatives
        Sampled negatives per event, half from recent positives, half uniform.
    recency
        Weight ratio of one recent positive to the one after it.
    lag
        Co-occurrence weight ratio of one step back in the recent positives.
    n_blend
        Candidates the blend's softmax is estimated with.
    rank_every
        One in so many events, chosen by its id, teaches category model, blend, perceptron and discoveries; all teach
        the rest.
    n_eager
        The first so many events of a partition all teach them.
    session_gap_s
        Events without a session that lie further apart start a new one, in seconds.
    late_s
        An event of another session that is so many seconds older than the user's newest one belongs to an earlier one.
        At least as many as a clock may be ahead: one device must not make the events of another late.
    """

    rate: float = 0.1
    blend_memory: float = 200_000.0
    n_negatives: int = 16
    recency: float = 0.9
    lag: float = 0.95
    n_blend: int = 64
    rank_every: int = 3
    n_eager: int = 50_000
    session_gap_s: int = 86_400
    late_s: int = 3_600


class SlateParams(NamedTuple):
    """What a slate may hold.

    Attributes
    ----------
    size
        Slots of a slate.
    category_cap
        Items of one category at the most, more where categories are few (:mod:`operators.cap`); 0 is no cap.
    discovery_slots
        Slots kept for items that the user never had.
    discovery_worth
        Slates take an item that the user never had for so many times as likely as it is, above 0; an arm without
        discovery slots does not.
    shown_limit
        An item shown in this many slates in a row without a reaction rests; 0 is never.
    bought_rest_s
        An item bought less than this many seconds ago is left out; 0 is never.
    """

    size: int = 10
    category_cap: int = 2
    discovery_slots: int = 2
    discovery_worth: float = 2.5
    shown_limit: int = 0
    bought_rest_s: int = 0
