"""Who may ask: a token in every request, and a Host and an Origin that are this server's.

A page of another site that a browser shows must not reach the server: it does not know the token, its requests name
their Origin, and if its host name is made to resolve to this address (DNS rebinding), the Host header has that name.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from base64 import b64decode
from binascii import Error as Base64Error
from contextlib import suppress
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from spyglass.serve.page import page
from spyglass.serve.problems import Refusal, problem
from spyglass.serve.settings import Settings

__all__ = ["Access"]

_OPEN_PATHS = frozenset({"/healthz"})
_COOKIE = "spyglass"
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_SAME_SITE = frozenset({"same-origin", "none"})
#: What browsers are told: nothing of an answer runs, is framed, guessed, stored, or used by another site.
_HEADERS = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}
_ASK = {"www-authenticate": 'Bearer realm="spyglass"'}


class Access:
    """Lets pass what may ask, refuses the rest, and adds security headers to every answer.

    Requests beyond `Settings.requests` at once are refused, too, so that memory is bounded.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings
        self._secret = settings.token.encode()
        self._cookie = hmac.new(self._secret, b"cookie", hashlib.sha256).hexdigest()
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, cookies = Headers(scope=scope), list[str]()

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(raw=message["headers"])
                message["headers"] = answer.raw
                for name, value in _HEADERS.items():
                    answer.setdefault(name, value)
                for cookie in cookies:
                    answer.append("set-cookie", cookie)
            await send(message)

        try:
            self._check_host(headers)
            if scope["path"] not in _OPEN_PATHS:
                cookies += self._check_token(scope, headers)
            if self._running >= self._settings.requests:
                raise Refusal(503, "too many requests at once", headers={"retry-after": "1"})
        except Refusal as refusal:
            # The page has nothing of any process, and asks for the token itself.
            asks = refusal.status == 401 and scope["path"] == "/" and scope["method"] == "GET"
            answer = page(401) if asks else problem(refusal)
            await answer(scope, receive, send_with_headers)
            return
        self._running += 1
        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._running -= 1

    def _check_host(self, headers: Headers) -> None:
        """Raise `Refusal` unless Host is this server's, and Origin, if there is one, is the same."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_ours(hosts[0]):
            raise Refusal(
                421, "the Host header does not name this server", "--host-name adds a name"
            )
        for origin in headers.getlist("origin"):
            if origin.partition("://")[2].lower() != hosts[0].lower():
                raise Refusal(403, "requests of other origins are refused")

    def _is_ours(self, host: str) -> bool:
        """Whether a Host header is an IP address, which DNS cannot rebind, or a name of this server."""
        name = _without_port(host)
        if self._settings.hosts is None or name == "localhost" or name in self._settings.hosts:
            return True
        with suppress(ValueError):
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
            return True
        return False

    def _check_token(self, scope: Scope, headers: Headers) -> list[str]:
        """Raise `Refusal` without the token; the cookie to set, if the token was in the URL, from which it is removed."""
        if self._is_token(_authorization(headers)):
            return []
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if given:
            if len(given) > 1 or not self._is_token(given[0]):
                raise Refusal(401, "the token in the URL is not this server's", headers=_ASK)
            rest = [(name, value) for name, value in query if name != "token"]
            scope["query_string"] = urlencode(rest).encode("ascii")
            secure = "; Secure" if self._settings.secure else ""
            return [f"{_COOKIE}={self._cookie}; Path=/; HttpOnly; SameSite=Strict{secure}"]
        if not hmac.compare_digest(_cookie(headers).encode(), self._cookie.encode()):
            hint = "send it as `Authorization: Bearer TOKEN`, or once as ?token=TOKEN"
            raise Refusal(401, "the token is missing or wrong", hint, _ASK)
        if headers.get("sec-fetch-site", "none") not in _SAME_SITE:
            raise Refusal(403, "requests of other sites are refused")
        if scope["method"] not in _SAFE_METHODS and "origin" not in headers:
            raise Refusal(
                403, "a request that changes something needs an Origin, or the token itself"
            )
        return []

    def _is_token(self, text: str) -> bool:
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._secret)


def _without_port(host: str) -> str:
    """``localhost`` of ``localhost:8974``, ``[::1]`` of ``[::1]:8974``, in lower case."""
    name, _, port = host.lower().rpartition(":")
    return (
        name
        if name and port.isdecimal() and not (name.count(":") and name[0] != "[")
        else host.lower()
    )


def _authorization(headers: Headers) -> str:
    """The token of the header Authorization: Bearer, or the password of Basic, which is in URLs for go tool pprof."""
    kind, _, value = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":
        with suppress(Base64Error, ValueError):
            return b64decode(value, validate=True).decode().partition(":")[2]
    return ""


def _cookie(headers: Headers) -> str:
    with suppress(CookieError):
        found = SimpleCookie(headers.get("cookie", "")).get(_COOKIE)
        return found.value if found is not None else ""
    return ""
