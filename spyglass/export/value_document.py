"""Values of variables as JSON: ``spyglass.variables/1``, see ``variables.schema.json``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, BinaryIO

from spyglass.export.json_text import compact
from spyglass.export.plain_values import plain, record
from spyglass.go_value import Value, VariableName, Variables
from spyglass.version import __version__

__all__ = ["SCHEMA", "write_names", "write_variables"]

#: The name and version of the document. A new number: something lost its meaning.
SCHEMA = "spyglass.variables/1"


def write_variables(found: Variables, stream: BinaryIO) -> None:
    """Write `found` as a document on one line of ASCII, which does no harm to a terminal."""
    document = {
        "schema": SCHEMA,
        "spyglass_version": __version__,
        "process": record(found.process),
        "taken_at": plain(found.taken_at),
        "variables": [
            {"name": plain(each.name), "address": hex(each.address), "value": _value(each.value)}
            for each in found.variables
        ],
        "problems": [record(problem) for problem in found.problems],
    }
    stream.write(compact(document).encode("ascii") + b"\n")


def write_names(names: Sequence[VariableName], stream: BinaryIO) -> None:
    """Write `names` as a list of JSON."""
    rows = [record(each) | {"address": hex(each.address)} for each in names]
    stream.write(compact(rows).encode("ascii") + b"\n")


def _value(value: Value) -> dict[str, Any]:
    """What is known of `value`; what its kind does not have is left out."""
    found: dict[str, Any] = {"type": plain(value.type), "kind": value.kind}
    if value.number is not None:
        found["number"] = _number(value.number)
    if value.address is not None:
        found["address"] = hex(value.address)
    for name in ("text", "length", "capacity", "function", "problem"):
        if getattr(value, name) is not None:
            found[name] = plain(getattr(value, name))
    if value.elements:
        found["elements"] = [_value(each) for each in value.elements]
    if value.entries:
        found["entries"] = [{"key": _value(a), "value": _value(b)} for a, b in value.entries]
    if value.fields:
        found["fields"] = [{"name": plain(name), "value": _value(v)} for name, v in value.fields]
    if value.target is not None:
        found["target"] = _value(value.target)
    if value.escaped:
        found["escaped"] = True
    return found | {"cut": value.cut}


def _number(number: bool | int | float | tuple[float, float]) -> Any:
    """A number as JSON has it; what JSON has no number for is a text."""
    if isinstance(number, tuple):
        return [_number(each) for each in number]
    if isinstance(number, float) and not math.isfinite(number):
        return "NaN" if math.isnan(number) else "+Inf" if number > 0 else "-Inf"
    return number
