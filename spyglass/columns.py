"""Set operations on columns of numbers, without numpy functions that are slow to import.

`numpy.unique` imports masked arrays when it is first called, which costs as much as reading a thousand
goroutines.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["among", "distinct", "numbered"]

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


def among(values: NDArray[Number], others: NDArray[Number]) -> NDArray[np.bool_]:
    """Mask of the `values` that are among `others`; faster than `numpy.isin` for few among very many."""
    if not len(others):
        return np.zeros(len(values), np.bool_)
    ordered = np.sort(others)
    at = np.minimum(np.searchsorted(ordered, values), len(ordered) - 1)
    found: NDArray[np.bool_] = ordered[at] == values
    return found
