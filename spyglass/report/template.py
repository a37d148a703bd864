"""The assets of pages, filled with contents: pages load nothing, so all they need is in them."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from importlib.resources import files
from typing import Any

__all__ = ["asset", "filled", "policy", "script_json"]

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
#: Escapes for characters that could end a script element or begin a comment in it; JSON reads them alike.
_IN_SCRIPT = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})


def asset(name: str) -> str:
    """The text of a file in ``assets``."""
    return (files("spyglass.report") / "assets" / name).read_text("utf-8")


def filled(template: str, contents: Mapping[str, Callable[[], str]]) -> Iterator[str]:
    """The asset `template` in pieces, with `contents` in place of its placeholders."""
    # Split once: text of the program is never searched for placeholders.
    for index, piece in enumerate(_PLACEHOLDER.split(asset(template))):
        yield contents[piece]() if index % 2 else piece


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy that allows nothing but `style` and `script`."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_source(script)}",
            f"style-src {_source(style)}",
            "connect-src 'none'",
            "img-src 'none'",
            "base-uri 'none'",
            "form-action 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types 'none'",
        )
    )


def script_json(value: Any) -> str:
    """`value` as ASCII JSON that is safe in a script element."""
    return json.dumps(value, separators=(",", ":")).translate(_IN_SCRIPT)


def _source(text: str) -> str:
    return f"'sha256-{b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
