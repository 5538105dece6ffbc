"""The rule for how many items of one category a slate holds: the cap as it is set, or more where categories are few."""

EVEN_SHARES = 2
"""A category may always have so many times its even share of the slots."""


def cap_in_force(category_cap: int, size: int, n_categories: int) -> int:
    """Return how many items of one category a slate may hold: at least twice the even share of a category.

    With a cap alone, a slate of a shop with few categories is short, or made of what is left:

        max(category_cap, ceil(2 * size / n_categories))

    Plain Python, which kernels compile for themselves, so that every slate keeps the same rule.

    Parameters
    ----------
    category_cap
        As it is set; 0 is no cap.
    size
        Slots of a slate.
    n_categories
        Different categories among all that the slate may hold; where there are none, the cap stays.

    Examples
    --------
    >>> [cap_in_force(2, 10, n_categories) for n_categories in (303, 10, 9, 4, 1)]
    [2, 2, 3, 5, 20]
    >>> cap_in_force(0, 10, 4)
    0
    """
    if category_cap == 0 or n_categories == 0:
        return category_cap
    return max(category_cap, (EVEN_SHARES * size + n_categories - 1) // n_categories)
