"""The assets of pages, filled with contents: pages load nothing, so all they need is in them."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.resources import files
from typing import Any

from spyglass.report.markup import joined
from spyglass.version import __version__

__all__ = ["asset", "filled", "page", "policy", "script_json"]

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")
#: Escapes for characters that could end a script element or begin a comment in it; JSON reads them alike.
_IN_SCRIPT = str.maketrans({"<": r"\u003c", ">": r"\u003e", "&": r"\u0026"})


def asset(name: str, package: str = "spyglass.report") -> str:
    """The text of a file in ``assets`` of `package`."""
    return (files(package) / "assets" / name).read_text("utf-8")


def filled(
    template: str, contents: Mapping[str, Callable[[], str]], package: str = "spyglass.report"
) -> Iterator[str]:
    """The asset `template` in pieces, with `contents` in place of its placeholders."""
    # Split once: text of the program is never searched for placeholders.
    for index, piece in enumerate(_PLACEHOLDER.split(asset(template, package))):
        yield contents[piece]() if index % 2 else piece


def page(
    template: str, scripts: Iterable[str], contents: Mapping[str, Callable[[], str]]
) -> Iterator[str]:
    """The page `template` in pieces of Unicode text without surrogates: its policy, style, script (the assets
    `scripts`; each depends on those before it) and version are filled in here, all else is in `contents`.

    The page loads nothing and sends nothing. Its Content-Security-Policy makes the browser enforce
    that: only this style and this script, identified by their hashes, are allowed.
    """
    style, script = asset("page.css"), "".join(map(asset, scripts))
    shell: dict[str, Callable[[], str]] = {
        "policy": lambda: policy(style, script),
        "style": lambda: style,
        "script": lambda: script,
        "version": lambda: joined(__version__),
    }
    return filled(template, shell | dict(contents))


def policy(style: str, script: str, connect: str = "'none'") -> str:
    """The Content-Security-Policy that allows nothing but `style`, `script`, and requests to the sources `connect`."""
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src {_source(script)}",
            f"style-src {_source(style)}",
            f"connect-src {connect}",
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
