"""Frozen dataclasses that are quick to import: dataclasses compile the methods of each class, which takes as long as all
else of many a module."""

from __future__ import annotations

from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from typing import Any, NoReturn, dataclass_transform

__all__ = ["Frozen"]


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
class Frozen:
    """What is derived from it is a frozen dataclass, for type checkers and for `fields`, `replace` and `asdict` of
    dataclasses, but has the methods of this class. To make one takes some microseconds: not for what there are thousands of.

    ``class Name(Frozen, eq=False)``: equal to itself only.
    """

    def __init_subclass__(cls, *, eq: bool = True) -> None:
        dataclass(init=False, repr=False, eq=False)(cls)
        if not eq:
            cls.__eq__ = object.__eq__  # type: ignore[method-assign]
            cls.__hash__ = object.__hash__  # type: ignore[method-assign]

    def __init__(self, *values: Any, **named: Any) -> None:
        """The values of the fields, in their order or by their names."""
        names = self.__match_args__  # type: ignore[attr-defined]
        given = dict(zip(names, values, strict=False))
        is_wrong = len(values) > len(given) or bool(given.keys() & named.keys())
        given |= named
        for each in fields(self):  # type: ignore[arg-type]
            if each.name in given:
                continue
            if each.default_factory is not MISSING:
                given[each.name] = each.default_factory()
            elif each.default is not MISSING:
                given[each.name] = each.default
        if is_wrong or given.keys() != set(names):
            raise TypeError(f"{type(self).__name__} takes {', '.join(names)}")
        self.__dict__.update(given)

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, each.name) for each in fields(self))  # type: ignore[arg-type]

    def __eq__(self, other: object) -> bool:
        return self._values() == other._values() if type(other) is type(self) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._values())

    def __repr__(self) -> str:
        values = zip(self.__match_args__, self._values(), strict=True)  # type: ignore[attr-defined]
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in values)})"

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise FrozenInstanceError(f"cannot assign to field {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise FrozenInstanceError(f"cannot delete field {name!r}")
