"""Arguments of tools: JSON values that are read as the parameters of paths are (`spyglass.serve.parameters`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spyglass.serve.parameters import Parameter
from spyglass.serve.problems import Refusal

__all__ = ["given", "input_schema"]

_MAX_ITEMS = 64


def input_schema(parameters: Sequence[Parameter], required: Sequence[str] = ()) -> dict[str, Any]:
    """The JSON schema of the arguments of a tool."""
    return {
        "type": "object",
        "properties": {each.name: _schema(each) for each in parameters},
        "required": list(required),
        "additionalProperties": False,
    }


def given(
    parameters: Sequence[Parameter], required: Sequence[str], arguments: Mapping[str, Any] | None
) -> dict[str, Any]:
    """The values of all `parameters`, by name. Raises `Refusal` for what they cannot be."""
    arguments = {} if arguments is None else arguments
    known = {each.name for each in parameters}
    if unknown := arguments.keys() - known:
        raise Refusal(
            400, f"no argument is called {min(unknown)[:64]!r}", f"there are: {', '.join(sorted(known))}"
        )  # fmt: skip
    if missing := [name for name in required if arguments.get(name) is None]:
        raise Refusal(400, f"{missing[0]} is missing")
    return {each.name: each.value(_texts(each, arguments.get(each.name))) for each in parameters}


def _schema(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = dict(parameter.schema)
    if parameter.repeats:
        schema = {"type": "array", "items": schema, "maxItems": _MAX_ITEMS}
    return schema | {"description": parameter.description}


def _texts(parameter: Parameter, value: Any) -> list[str]:
    """`value` as the texts that a query would have."""
    if value is None:
        return []
    values = value if isinstance(value, list) and parameter.repeats else [value]
    if len(values) > _MAX_ITEMS:
        raise Refusal(400, f"{parameter.name}: at most {_MAX_ITEMS} values")
    return [_text(parameter, each) for each in values]


def _text(parameter: Parameter, value: Any) -> str:
    kind = parameter.schema["type"]
    if kind == "boolean" and isinstance(value, bool):
        return "true" if value else "false"
    if kind == "integer" and isinstance(value, int) and not isinstance(value, bool):
        return str(value) if abs(value) < 1 << 64 else "?"  # Python refuses to write huge ones
    if kind == "string" and isinstance(value, str):
        return value
    raise Refusal(400, f"{parameter.name}: must be of type {kind}")
