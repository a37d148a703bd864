"""Constants in Go source files: enough of the language to read those of the runtime."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["constants"]

_SPEC = re.compile(r"(\w+)(?:\s+[\w.]+)?\s*(?:=\s*(.+))?$")
_DEFINE = re.compile(r"#define\s+(\w+)\s+(\d+)\s*$")
_CAST = re.compile(r"\b(?:u?int(?:8|16|32|64|ptr)?|\w*Magic|FuncFlag|TFlag|Kind)\(([^()]*)\)")


def constants(goroot: Path, *packages: str) -> dict[str, int]:
    """The constants of `packages` ("runtime", "internal/abi") whose values are plain numbers.

    Where files for other systems define a name otherwise, the last in the order of file names counts:
    ask only for names that all systems share.
    """
    found: dict[str, int] = {}
    for package in packages:
        folder = goroot / "src" / package
        for path in sorted([*folder.glob("*.go"), *folder.glob("funcdata.h")]):
            if not path.name.endswith("_test.go"):
                found.update(_of_file(path.read_text(), found))
    return found


def _of_file(text: str, known: dict[str, int]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name, expression, iota in _declared(text):
        value = _value(expression, known | found, iota)
        if value is not None and name != "_":
            found[name] = value
    return found


def _declared(text: str) -> Iterator[tuple[str, str, int]]:
    """Name, expression and iota of each constant."""
    inside, iota, expression = False, 0, ""
    for raw in text.splitlines():
        line = raw.partition("//")[0].strip()
        if define := _DEFINE.match(line):
            yield define[1], define[2], 0
        elif line == "const (":
            inside, iota, expression = True, 0, ""
        elif inside and line == ")":
            inside = False
        elif inside and (match := _SPEC.match(line)):
            expression = match[2] or expression
            yield match[1], expression, iota
            iota += 1
        elif not inside and line.startswith("const ") and (match := _SPEC.match(line[6:])):
            yield match[1], match[2] or "", 0


def _value(expression: str, known: dict[str, int], iota: int) -> int | None:
    plain = _CAST.sub(r"(\1)", expression).replace("^", "~")
    if not re.fullmatch(r"[\w\s+\-*/|&<>()~]+", plain):
        return None
    try:
        value = eval(plain.replace("/", "//"), {"__builtins__": {}}, known | {"iota": iota})
    except (NameError, SyntaxError, TypeError, ZeroDivisionError, ValueError):
        return None
    return value if isinstance(value, int) else None
