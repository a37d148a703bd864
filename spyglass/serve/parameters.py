"""Parameters of requests: each declared once, with what OpenAPI says of it and what reads its text."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from spyglass.serve.problems import Refusal
from spyglass.words.spans import span_ns

__all__ = [
    "Parameter", "choice", "flag", "integer", "parsed", "path_integer", "span", "text",
]  # fmt: skip

_MAX_PARAMETERS = 64
_MAX_TEXT = 1024
_MAX_SPAN = 64
_WHOLE = re.compile(r"\d{1,19}", re.ASCII)
_FLAGS = {"true": True, "1": True, "false": False, "0": False, "": True}


@dataclass(frozen=True)
class Parameter:
    """A parameter in the query. `read` turns its text into a value, or raises `ValueError`; `repeats`: it may be there
    several times, and its value is a tuple; `default`: its value where it is not given."""

    name: str
    description: str
    schema: Mapping[str, Any]
    read: Callable[[str], Any] = field(compare=False)
    default: Any = None
    repeats: bool = False

    def value(self, texts: Sequence[str]) -> Any:
        """The value of what is given; raises `Refusal` for what it cannot be."""
        if len(texts) > 1 and not self.repeats:
            raise Refusal(400, f"{self.name} is given more than once")
        try:
            values = tuple(map(self.read, texts))
        except ValueError as error:
            raise Refusal(400, f"{self.name}: {error}") from None
        if self.repeats:
            return values
        return values[0] if values else self.default


def parsed(parameters: Sequence[Parameter], query: bytes) -> dict[str, Any]:
    """The values of all `parameters`, by name, from a query string. Raises `Refusal`."""
    try:
        pairs = parse_qsl(
            query.decode(), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS
        )
    except ValueError:
        raise Refusal(400, "the query is not one, or has too many parameters") from None
    given: dict[str, list[str]] = {}
    for name, value in pairs:
        given.setdefault(name, []).append(value)
    known = {each.name for each in parameters}
    if unknown := given.keys() - known:
        hint = f"there are: {', '.join(sorted(known))}" if known else "there are none"
        raise Refusal(400, f"no parameter is called {min(unknown)[:64]!r}", hint)
    return {each.name: each.value(given.get(each.name, ())) for each in parameters}


def text(name: str, description: str, *, repeats: bool = False) -> Parameter:
    """A text that is not empty."""
    schema = {"type": "string", "minLength": 1, "maxLength": _MAX_TEXT}
    return Parameter(name, description, schema, _text, repeats=repeats)


def flag(name: str, description: str, *, default: bool = False) -> Parameter:
    """Yes or no: true, false, 1, 0; the name alone is yes."""
    return Parameter(name, description, {"type": "boolean", "default": default}, _flag, default)


def integer(
    name: str, description: str, low: int, high: int, *, default: int | None = None, repeats: bool = False
) -> Parameter:  # fmt: skip
    """A whole number from `low` to `high`."""
    schema: dict[str, Any] = {"type": "integer", "minimum": low, "maximum": high}
    if default is not None:
        schema["default"] = default
    return Parameter(name, description, schema, _integer(low, high), default, repeats)


def span(
    name: str, description: str, low_s: float, high_s: float, *, default_s: float | None = None
) -> Parameter:
    """A duration such as 10s or 1m30s, as a number of ns."""

    def read(value: str) -> int:
        found = span_ns(value[:_MAX_SPAN])
        if not low_s * 1e9 <= found <= high_s * 1e9:
            raise ValueError(f"must be from {low_s:g}s to {high_s:g}s")
        return found

    schema: dict[str, Any] = {"type": "string", "examples": ["10s"]}
    if default_s is not None:
        schema["default"] = f"{default_s:g}s"
    default = None if default_s is None else int(default_s * 1e9)
    return Parameter(name, description, schema, read, default)


def choice(
    name: str, description: str, choices: Sequence[str], *, default: str | None = None
) -> Parameter:
    """One of some words."""

    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return value

    schema: dict[str, Any] = {"type": "string", "enum": list(choices)}
    if default is not None:
        schema["default"] = default
    return Parameter(name, description, schema, read, default)


def path_integer(value: str, what: str, high: int) -> int:
    """A number in a path, from 1 to `high`; raises `Refusal` if it is none."""
    try:
        return int(_integer(1, high)(value))
    except ValueError:
        raise Refusal(404, f"{value[:64]!r} is not {what}") from None


def _text(value: str) -> str:
    if not 0 < len(value) <= _MAX_TEXT:
        raise ValueError(f"must have 1 to {_MAX_TEXT} characters")
    return value


def _flag(value: str) -> bool:
    if value.lower() not in _FLAGS:
        raise ValueError("must be true or false")
    return _FLAGS[value.lower()]


def _integer(low: int, high: int) -> Callable[[str], int]:
    def read(value: str) -> int:
        if not _WHOLE.fullmatch(value) or not low <= int(value) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(value)

    return read
