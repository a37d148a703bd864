"""Where profiles are pushed to, in which form, and with which secret."""

from __future__ import annotations

import base64
import ipaddress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import SplitResult, urlsplit

from spyglass.errors import SpyglassError

__all__ = ["Destination", "Form", "Headers", "destination"]

#: ingest: Pyroscope's older path; push: its push.v1 as JSON; otlp: OTLP profiles as protobuf over HTTP.
Form = Literal["ingest", "push", "otlp"]
#: Names and values of header fields.
Headers = tuple[tuple[str, str], ...]

_PATHS: dict[str, Form] = {
    "/ingest": "ingest",
    "/push.v1.PusherService/Push": "push",
    "/v1development/profiles": "otlp",
}
_DEFAULT_PATH = "/ingest"
_TOKEN_HINT = "--push-token-file, or SPYGLASS_PUSH_TOKEN in the environment, has it"


@dataclass(frozen=True, slots=True)
class Destination:
    """A server and a path on it. `authorization`: the header, which is a secret; None: none is sent. `headers`: further ones,
    which may be secrets."""

    form: Form
    secure: bool
    host: str
    port: int
    path: str
    authorization: str | None = field(default=None, repr=False)
    headers: Headers = field(default=(), repr=False)

    @property
    def shown(self) -> str:
        """Its URL, without secrets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}{self.path}"


def destination(
    url: str, token: str | None, headers: Headers = (), *, secret: bool = False
) -> Destination:
    """The destination at `url`: its path says the form, that of Pyroscope's /ingest if it is none of them. `token`: sent as a bearer, or
    as the password of the user in the URL. `headers`: sent too; `secret`: they are secrets.

    Raises `SpyglassError` if it is no such URL, has a password, or secrets would be sent over the network without TLS.
    """
    parts = _parts(url)
    secure = parts.scheme == "https"
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    if not secure and not _is_loopback(host) and (secret or token is not None):
        what = "token" if token is not None else "file of headers"
        raise SpyglassError(f"the {what} would be sent to {host} without TLS", "use https://")
    path, form = _path(parts.path)
    authorization = _authorization(parts.username, token)
    if authorization is not None and any(name.lower() == "authorization" for name, _ in headers):
        raise SpyglassError("--push has both a token and a header Authorization")
    return Destination(form, secure, host, port, path, authorization, headers)


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise SpyglassError("--push needs a URL such as https://host:4040 or http://host:4318/v1development/profiles")  # fmt: skip
    if parts.password is not None:
        raise SpyglassError("the URL of --push has a password, which other users see", _TOKEN_HINT)
    if parts.query or parts.fragment:
        raise SpyglassError("the URL of --push must not have parameters")
    return parts


def _path(given: str) -> tuple[str, Form]:
    base = given.rstrip("/")
    for path, form in _PATHS.items():
        if base.endswith(path):
            return base, form
    return base + _DEFAULT_PATH, _PATHS[_DEFAULT_PATH]


def _authorization(user: str | None, token: str | None) -> str | None:
    if token is None:
        if user is not None:
            raise SpyglassError("the URL of --push has a user, and there is no token", _TOKEN_HINT)
        return None
    if user is None:
        return f"Bearer {token}"
    return f"Basic {base64.b64encode(f'{user}:{token}'.encode()).decode()}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
