"""Values of Go variables, as plain data."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from spyglass.model import Problem, Process

__all__ = ["Limits", "Value", "Variable", "VariableName", "Variables"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a value is read: `elements` of each slice, array and map, `text_bytes` of each string, through
    `depth` pointers. `redact`: no texts."""

    elements: int = 32
    text_bytes: int = 256
    depth: int = 3
    redact: bool = False


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a Go type.

    `type`: its name; `kind`: as in package reflect, with "pointer". `number`: of a boolean or a number; a complex one is a
    pair. `text`: of a string or of bytes, as far as it was read, None: not read; `escaped`: it is not UTF-8, so backslashes
    are doubled in it, and one with xNN is a byte. `address`: what a pointer, slice, map, channel, function or interface refers
    to; 0: nil. `length` and `capacity`: of what has these. `function`: the
    name of a function. `elements`: of an array or a slice; `entries`: of a map, in no order; `fields`: of a struct; `target`:
    what a pointer points to, or an interface holds. `cut`: there is more than was read. `problem`: why it is not known.
    """

    type: str
    kind: str
    number: bool | int | float | tuple[float, float] | None = None
    text: str | None = None
    address: int | None = None
    length: int | None = None
    capacity: int | None = None
    function: str | None = None
    elements: tuple[Value, ...] = ()
    entries: tuple[tuple[Value, Value], ...] = ()
    fields: tuple[tuple[str, Value], ...] = ()
    target: Value | None = None
    cut: bool = False
    escaped: bool = False
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Variable:
    """A package-level variable, or what is at an address: its `name`, "" for an address."""

    name: str
    address: int
    value: Value


@dataclass(frozen=True, slots=True)
class VariableName:
    """A package-level variable by its symbol; `type`: the name of its type, None: not known."""

    name: str
    address: int
    size_bytes: int
    type: str | None


@dataclass(frozen=True, slots=True)
class Variables:
    """Variables of a process at one time."""

    process: Process
    taken_at: datetime
    variables: tuple[Variable, ...]
    problems: tuple[Problem, ...] = ()
