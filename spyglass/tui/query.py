"""The filter language of the view: ``state:"chan receive" label:tenant=blue net/http``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from spyglass.analysis.filters import Filter

__all__ = ["BadQuery", "Query"]

_NAME = r"(?<!\S)(state|label|creator):"
_TERM = re.compile(_NAME + r'((?:[^\s"]|"[^"]*")+)')
_UNFINISHED = re.compile(_NAME)


class BadQuery(ValueError):
    """The text of a query is not valid; the message says why."""


@dataclass(frozen=True, slots=True)
class Query:
    """A parsed query.

    Terms are ``state:WORDS`` (part of a state; of several, one must match), ``label:KEY=VALUE`` and
    ``creator:REGEX``, with quotes around values that contain spaces. The rest of the text is a regular
    expression that must match in the name of a function on the stack.
    """

    text: str = ""
    states: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    creator: re.Pattern[str] | None = None
    function: re.Pattern[str] | None = None

    @classmethod
    def parse(cls, text: str) -> Query:
        """Parse `text`; raises `BadQuery`."""
        if text.count('"') % 2:
            raise BadQuery(f'a quote (") is not closed: {text.strip()}')
        terms = [(name, value.replace('"', "")) for name, value in _TERM.findall(text)]
        rest = _TERM.sub("", text).strip()
        empty = [f"{name}:" for name, value in terms if not value]
        for name in [*empty, *(match[0] for match in _UNFINISHED.finditer(rest))]:
            raise BadQuery(f"no value after {name}")
        creators = [value for name, value in terms if name == "creator"]
        return cls(
            text.strip(),
            tuple(value for name, value in terms if name == "state"),
            tuple(_label(value) for name, value in terms if name == "label"),
            _pattern(creators[-1]) if creators else None,
            _pattern(rest) if rest else None,
        )

    def __bool__(self) -> bool:
        return bool(self.text)

    @property
    def filter(self) -> Filter:
        """The conditions of the query."""
        return Filter(
            states=self.states, function=self.function, creator=self.creator, labels=self.labels
        )


def _label(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise BadQuery(f"label:{text} is not label:KEY=VALUE")
    return key, value


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise BadQuery(f"{text} is not a regular expression: {error}") from None
