"""Set operations on columns of numbers, without numpy functions that are slow to import.

`numpy.unique` imports masked arrays when it is first called, which costs as much as reading a thousand
goroutines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["among", "combined", "distinct", "numbered", "offsets_of", "ranges"]

_MAX_MIXED = 1 << 62

Number = TypeVar("Number", bound=np.generic)


def distinct(values: NDArray[Number]) -> NDArray[Number]:
    """The distinct values of `values` (shape (n,)), in ascending order."""
    ordered = np.sort(values)
    first = np.empty(len(ordered), np.bool_)
    first[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return ordered[first]


def numbered(values: NDArray[Number]) -> tuple[NDArray[Number], NDArray[np.intp]]:
    """The distinct values in ascending order, and for each value its index among them."""
    different = distinct(values)
    return different, np.searchsorted(different, values)


def combined(*columns: NDArray[Any]) -> NDArray[np.int64]:
    """A number for each row of `columns` (integers or bools, one length), equal where all of them are.

    Mixed as digits of one number, whose bases are the ranges of the columns. Where that would be
    2**62 or more (only columns that were made up have such ranges), what is mixed is numbered anew.
    """
    mixed, mixed_range = np.zeros(len(columns[0]), np.int64), 1
    for column in columns:
        least = int(column.min(initial=0))
        column_range = int(column.max(initial=0)) - least + 1
        if mixed_range * column_range >= _MAX_MIXED:
            different, mixed = numbered(mixed)
            mixed_range = len(different)
        if mixed_range * column_range >= _MAX_MIXED:
            different, column = numbered(column)
            least, column_range = 0, len(different)
        mixed = mixed * column_range + (column.astype(np.int64) - least)
        mixed_range *= column_range
    return mixed


def among(values: NDArray[Number], others: NDArray[Number]) -> NDArray[np.bool_]:
    """Mask of the `values` that are among `others`; faster than `numpy.isin` for few among very many."""
    if not len(others):
        return np.zeros(len(values), np.bool_)
    ordered = np.sort(others)
    at = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    found: NDArray[np.bool_] = ordered[at] == values
    return found


def offsets_of(sizes: NDArray[Any]) -> NDArray[np.int64]:
    """Where parts of these `sizes` (shape (n,)) begin, one after the other, and behind them where the last ends
    (shape (n + 1,))."""
    ends = np.cumsum(sizes, dtype=np.int64)
    return np.concatenate([np.zeros(1, np.int64), ends])


def ranges(first: NDArray[Any], count: NDArray[Any]) -> NDArray[np.int64]:
    """The numbers of ranges, one after the other: `count` numbers from each of `first` on."""
    before = np.cumsum(count, dtype=np.int64) - count
    numbers: NDArray[np.int64] = np.repeat(first - before, count)
    numbers += np.arange(len(numbers))
    return numbers
