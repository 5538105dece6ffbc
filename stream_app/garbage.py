"""How often Python looks for garbage: seldom, for every batch makes thousands of short-lived objects."""

import gc

_THRESHOLDS = (100_000, 50, 50)


def collect_seldom() -> None:
    """Let the collector run seldom from now on.

    A collection walks all objects there are. Profiled on 92,000 catalogue entries, half of the event loop's time went
    into it; and a start makes little but objects that stay.
    """
    gc.set_threshold(*_THRESHOLDS)


def keep_what_is_there() -> None:
    """Take all objects out of the collector's sight: the modules, and the catalogue.

    Nothing is collected before: that takes a sixth of a second, and finds a few hundred objects that a start has left.
    """
    gc.freeze()
