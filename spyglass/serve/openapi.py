"""The OpenAPI document, made from the table of operations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from spyglass.serve.operations import Operation
from spyglass.serve.parameters import Parameter
from spyglass.version import __version__

__all__ = ["document"]

_IN_PATH = re.compile(r"\{(\w+)\}")
_PROBLEM = {"$ref": "#/components/responses/Problem"}
_SCHEMES: dict[str, Any] = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "The token."},
    "basic": {"type": "http", "scheme": "basic", "description": "The token as the password of any user."},
    "url": {"type": "apiKey", "in": "query", "name": "token", "description": "The token; sets the cookie."},
    "cookie": {"type": "apiKey", "in": "cookie", "name": "spyglass", "description": "Set by ?token=."},
}  # fmt: skip


def document(operations: Iterable[Operation]) -> dict[str, Any]:
    """The document (OpenAPI 3.1) of `operations`."""
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        paths.setdefault(each.path, {})[each.method.lower()] = _operation(each)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "spyglass serve",
            "version": __version__,
            "description": "What Go processes of this host are doing. Documents are those of the commands.",
        },
        "servers": [{"url": "/"}],
        "security": [{name: []} for name in _SCHEMES],
        "paths": paths,
        "components": {
            "securitySchemes": _SCHEMES,
            "responses": {"Problem": _problem()},
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    names = _IN_PATH.findall(operation.path)
    answer: dict[str, Any] = {"description": operation.about}
    if operation.media_types:
        answer["content"] = {each: {} for each in operation.media_types}
    return {
        "operationId": operation.name,
        "summary": operation.about,
        "parameters": [
            *map(_in_path, names),
            *map(_in_query, operation.parameters),
            *({**_in_query(each), "in": "header"} for each in operation.headers),
        ],
        "responses": {str(operation.status): answer, "default": _PROBLEM},
    }


def _in_path(name: str) -> dict[str, Any]:
    schema = {"type": "string"} if name == "id" else {"type": "integer", "minimum": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(parameter: Parameter) -> dict[str, Any]:
    schema: dict[str, Any] = dict(parameter.schema)
    found = {"name": parameter.name, "in": "query", "description": parameter.description}
    if parameter.repeats:
        return found | {"schema": {"type": "array", "items": schema}, "explode": True}
    return found | {"schema": schema}


def _problem() -> dict[str, Any]:
    properties = {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "One line: what is wrong."},
        "hint": {"type": "string", "description": "What to do about it."},
    }
    schema = {"type": "object", "required": ["title", "status", "detail"], "properties": properties}
    return {
        "description": "No answer, and why (RFC 9457).",
        "content": {"application/problem+json": {"schema": schema}},
    }
