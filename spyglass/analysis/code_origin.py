"""Whose code a function is, as far as its name tells."""

from __future__ import annotations

__all__ = ["NOTE", "ORIGINS", "origin"]

#: Whose code a function is: the program's own module, a module it depends on, one of these where the
#: program's module is not known, the standard library, the runtime; or it is no function, but what a
#: page says where a stack is not known.
ORIGINS = ("own", "dependency", "either", "standard", "runtime", "note")
NOTE = ORIGINS.index("note")


def origin(function: str, module: str | None) -> str:
    """Whose code `function` is, as far as its name tells, in a program whose main module is `module`
    (None: not known)."""
    package = _package(function)
    first = package.partition("/")[0]
    if package == "main" or (module and (package == module or package.startswith(f"{module}/"))):
        return "own"
    if package == "runtime" or package.startswith(("runtime/internal/", "internal/runtime/")):
        return "runtime"
    if "." not in first:
        return "standard"
    return "dependency" if module else "either"


def _package(function: str) -> str:
    """The import path in a function's name, whose last element has its dots written as ``%2e``."""
    path, slash, rest = function.partition("[")[0].rpartition("/")
    return path + slash + rest.partition(".")[0]
