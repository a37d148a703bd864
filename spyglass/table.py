"""Rows as columns: numpy arrays of one length, because a program may have a million of what they describe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import FrozenInstanceError, dataclass, field, fields
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

__all__ = ["Column", "Table", "column"]


@dataclass(frozen=True, slots=True)
class Column:
    """What a column of a `Table` holds.

    `dtype`: of its array. `default`: the value where nothing is known. `index_of`: the field of
    `spyglass.model.Snapshot` that its values are indices of, if they are; negative ones are of none.
    """

    dtype: type[np.generic]
    default: int = 0
    index_of: str | None = None


def column(dtype: type[np.generic], default: int = 0, index_of: str | None = None) -> Any:
    """The field of a `Table` that holds this `Column`."""
    return field(metadata={"column": Column(dtype, default, index_of)})


class Table:
    """A class whose fields are columns of one length, each declared with `column`.

    What is derived from it is decorated with ``@dataclass(init=False, eq=False, repr=False)``, so that `fields` and `replace` of
    dataclasses take it. Its methods are here, because dataclasses compile theirs for each class when it is imported,
    which takes longer than all else of such a module.
    """

    def __init__(self, **columns: NDArray[Any]) -> None:
        """All of the columns, by their names."""
        if columns.keys() != self.columns().keys():
            wrong = sorted(columns.keys() ^ self.columns().keys())
            raise TypeError(
                f"{type(self).__name__}: missing or unknown columns: {', '.join(wrong)}"
            )
        self.__dict__.update(columns)

    @classmethod
    def columns(cls) -> dict[str, Column]:
        """What each column holds, by its name, in their order."""
        return {each.name: each.metadata["column"] for each in fields(cls)}  # type: ignore[arg-type]

    @classmethod
    def of(cls, count: int, **known: NDArray[Any]) -> Self:
        """`count` rows of which these columns are `known`; the others have their defaults."""
        unknown = {
            name: np.full(count, column.default, column.dtype)
            for name, column in cls.columns().items()
            if name not in known
        }
        return cls(**known, **unknown)

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """The rows of all `parts`, one after the other."""
        if not parts:
            return cls.of(0)
        return cls(
            **{
                name: np.concatenate([getattr(part, name) for part in parts])
                for name in cls.columns()
            }
        )

    def select(self, rows: NDArray[Any]) -> Self:
        """The rows `rows` (indices, or a bool for each)."""
        return type(self)(**{name: getattr(self, name)[rows] for name in self.columns()})

    def __len__(self) -> int:
        return len(getattr(self, next(iter(self.columns()))))

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {len(self)} rows>"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")
