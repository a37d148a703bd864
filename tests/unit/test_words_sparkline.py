from __future__ import annotations

import pytest

from spyglass.words.sparkline import sparkline


def test_bars_go_from_the_lowest_to_the_highest() -> None:
    assert sparkline([1, 2, 3, 8], 10) == "▁▂▃█"
    assert sparkline([0, 1], 10, ascii_only=True) == "_#"


def test_equal_values_have_no_bars() -> None:
    assert sparkline([5, 5, 5], 10) == ""
    assert sparkline([], 10) == ""
    assert sparkline([1, 2], 0) == ""


def test_many_values_share_a_bar_that_shows_their_peak() -> None:
    values = [0.0] * 100
    values[37] = 1
    assert sparkline(values, 10) == "▁▁▁█▁▁▁▁▁▁"


@pytest.mark.parametrize(
    ("counts", "bars"),
    [((0, 0), "  "), ((1, 1), "██"), ((0, 1, 7), " ▂█"), ((1, 1000), "▁█"), ((7, 3, 0), "█▄ ")],
)
def test_bars_from_zero(counts: tuple[int, ...], bars: str) -> None:
    assert sparkline(counts, from_zero=True) == bars
