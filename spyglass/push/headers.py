"""Header fields that a server of profiles wants beside a token: the tenant, keys of a gateway."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from spyglass.errors import SpyglassError
from spyglass.escape import visible
from spyglass.push.destination import Headers

__all__ = ["push_headers"]

_MAX_FILE_BYTES, _MAX_HEADERS = 16384, 32
#: A name and a value as RFC 9110 has them (5.6.2, 5.5), the value in ASCII.
_FIELD = re.compile(
    r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}):[ \t]*([\x21-\x7e](?:[\t\x20-\x7e]{0,8190}[\x21-\x7e])?)[ \t]*"
)
#: What requests have already.
_OURS = {
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "user-agent",
}
#: Names whose values are secrets, mostly.
_SECRET = re.compile(r"auth|cookie|key|pass|secret|token", re.IGNORECASE)


def push_headers(given: Iterable[str]) -> tuple[Headers, bool]:
    """The fields of "NAME: VALUE" and of the lines of "@FILE", and whether some are of files, and so secrets.

    Raises `SpyglassError` for what is none, for what requests have already, and for a secret among arguments, which other users
    see; `OSError` for a file.
    """
    found: dict[str, tuple[str, str]] = {}
    secret = False
    for text in given:
        is_file = text.startswith("@")
        secret |= is_file
        for name, value in _of_file(text[1:]) if is_file else (_of_argument(text),):
            if name.lower() in found:
                raise SpyglassError(f"--push-header has {name} twice")
            found[name.lower()] = name, value
    if len(found) > _MAX_HEADERS:
        raise SpyglassError(f"--push-header has more than {_MAX_HEADERS} headers")
    return tuple(found.values()), secret


def _of_argument(text: str) -> tuple[str, str]:
    name, value = _field(text, text.partition(":")[0])
    if _SECRET.search(name):
        raise SpyglassError(
            f"other users see the value of {name} among arguments",
            f"write the line `{name}: ...` into a file, and give --push-header @FILE",
        )
    return name, value


def _of_file(path: str) -> Iterator[tuple[str, str]]:
    with open(path, "rb") as file:
        data = file.read(_MAX_FILE_BYTES + 1)
    if len(data) > _MAX_FILE_BYTES:
        raise SpyglassError(f"{visible(path)} is too large for a file of headers")
    lines = data.decode("ascii", "replace").splitlines()
    for number, line in enumerate(lines, 1):
        if line.strip() and not line.startswith("#"):
            yield _field(line, f"line {number} of {path}")


def _field(text: str, shown: str) -> tuple[str, str]:
    """The name and the value; `shown`: what an error may call it."""
    match = _FIELD.fullmatch(text)
    if match is None:
        raise SpyglassError(f"--push-header: {visible(shown)[:200]} is not NAME: VALUE in ASCII")
    if match[1].lower() in _OURS:
        raise SpyglassError(f"--push-header: {match[1]} is set by spyglass itself")
    return match[1], match[2]
