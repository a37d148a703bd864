"""Sends requests to a server of profiles: with TLS that is verified, a limit of time, and no redirect."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from contextlib import closing, suppress

from spyglass.errors import SpyglassError
from spyglass.escape import visible
from spyglass.push.destination import Destination
from spyglass.push.forms import Request
from spyglass.version import __version__

__all__ = ["Pusher", "Rejected"]

_TIMEOUT_S = 10.0
_MAX_ANSWER_BYTES = 2048
#: Statuses that another attempt may change, beside 5xx: the wrong token may be right soon.
_LATER = frozenset({401, 403, 404, 408, 425, 429})


class Rejected(SpyglassError):
    """The server will not take this profile, however often it is sent."""


class Pusher:
    """A store (`spyglass.fleet.local_store.Store`) whose files are requests. `rejected` are counted where `drops_rejected`; else they
    raise `Rejected`."""

    is_local = False

    def __init__(self, to: Destination, *, drops_rejected: bool = False) -> None:
        self._to = to
        self._drops = drops_rejected
        #: Certificates of the system, or of SSL_CERT_FILE and SSL_CERT_DIR.
        self._context = ssl.create_default_context() if to.secure else None
        self.rejected = 0
        self.rejection: str | None = None

    def write(self, name: str, data: bytes) -> None:
        """Send the request that `data` is (`Request.packed`). Raises `OSError` if it may be sent again, or `Rejected`."""
        try:
            self._send(Request.unpacked(data))
        except SpyglassError as error:
            if not self._drops:
                raise
            self.rejected += 1
            self.rejection = error.message

    def _send(self, request: Request) -> None:
        to = self._to
        connection: http.client.HTTPConnection
        if self._context is None:
            connection = http.client.HTTPConnection(to.host, to.port, timeout=_TIMEOUT_S)
        else:
            connection = http.client.HTTPSConnection(
                to.host, to.port, timeout=_TIMEOUT_S, context=self._context
            )
        path = f"{to.path}?{request.query}" if request.query else to.path
        with closing(connection):
            try:
                connection.request("POST", path, request.body, _headers(to, request))
                with _Deadline(connection), connection.getresponse() as answer:
                    said = answer.read(_MAX_ANSWER_BYTES)
            except http.client.HTTPException as error:
                raise OSError(None, f"{to.shown}: {type(error).__name__}") from None
            except ssl.SSLCertVerificationError as error:
                raise OSError(None, f"{to.shown}: {error.verify_message}") from None
        _check(to, answer, said)


def _headers(to: Destination, request: Request) -> dict[str, str]:
    headers = {
        "Content-Type": request.content_type,
        "User-Agent": f"spyglass/{__version__}",
        "Connection": "close",
    }
    if request.encoding is not None:
        headers["Content-Encoding"] = request.encoding
    if to.authorization is not None:
        headers["Authorization"] = to.authorization
    return headers | dict(to.headers)


class _Deadline:
    """Ends the connection if its answer takes longer than `_TIMEOUT_S`: a server may send a byte now and then."""

    def __init__(self, connection: http.client.HTTPConnection) -> None:
        self._connection = connection
        self._timer = threading.Timer(_TIMEOUT_S, self._end)
        self._timer.daemon = True
        self._is_over = False

    def _end(self) -> None:
        self._is_over = True
        if (open_socket := self._connection.sock) is not None:
            with suppress(OSError):
                open_socket.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        """Raises `TimeoutError` if it was ended: what there is of an answer is not one."""
        self._timer.cancel()
        if self._is_over:
            raise TimeoutError(None, f"no answer within {_TIMEOUT_S:g} s")


def _check(to: Destination, answer: http.client.HTTPResponse, said: bytes) -> None:
    """Raise what a status that is no success means. A redirect is not followed: the token is for this server alone."""
    status = answer.status
    if 200 <= status < 300:
        return
    if 300 <= status < 400:
        where = visible(answer.getheader("Location") or "")[:200]
        raise Rejected(f"{to.shown} redirects to {where}", "give that URL if it is right")
    words = visible(said.decode("utf-8", "replace").strip())[:200]
    text = f"{to.shown} answers {status} {words}".rstrip()
    if status >= 500 or status in _LATER:
        raise OSError(None, text)
    raise Rejected(text)
