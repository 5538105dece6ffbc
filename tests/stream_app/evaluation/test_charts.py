"""Charts: what is drawn stays inside the plot."""

from __future__ import annotations

import re

import pytest

from stream_app.evaluation.charts import Axis, Series, fitting_axis, line_chart

PLOT_TOP, PLOT_BOTTOM = 14.0, 236.0
X = Axis("share", 0.0, 1.0)


def heights(chart: str) -> list[float]:
    """Return the vertical places of all points of lines and bands."""
    paths = re.findall(r'<path d="M([^"VHv]+)"', chart)
    return [float(point.split()[1]) for path in paths for point in path.rstrip("Z").split("L")]


@pytest.mark.parametrize(
    ("y", "error"),
    [
        ([0.1, 0.5, 0.45], [0.01, 0.02, 0.2]),  # the widest band is not at the largest value
        ([0.01, 0.02, 0.01], [0.1, 0.2, 0.1]),  # bands that would go below 0
        ([0.3, None, 0.2], [0.2, None, 0.0]),
    ],
)
def test_bands_stay_inside_the_plot(y: list[float | None], error: list[float | None]) -> None:
    """The axis reaches as high as the bands do; where a band would go below it, the band ends there."""
    series = [Series("one", [0.1, 0.5, 0.9], y, error), Series("two", [0.1, 0.9], [0.1, 0.1])]
    axis = fitting_axis("hit rate", series)
    assert axis.low == 0.0
    assert axis.high > max(value + 2 * wide for value, wide in zip(y, error, strict=True) if value is not None and wide)
    places = heights(line_chart(series, X, axis))
    assert len(places) > len(series)
    assert all(PLOT_TOP <= place <= PLOT_BOTTOM for place in places)
