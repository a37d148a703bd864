"""Run the server: sockets, TLS, signals, and what systemd is told."""

from __future__ import annotations

import gc
import os
import secrets
import signal
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn

from spyglass.errors import SpyglassError
from spyglass.memory.allocator import return_freed_memory
from spyglass.serve.app import create_app
from spyglass.serve.service import Service
from spyglass.serve.settings import Settings

__all__ = ["Place", "place", "run", "token_of"]

_BACKLOG = 1024
_MAX_TOKEN_BYTES = 4096
_MIN_TOKEN = 16
#: How many objects are made before circles of them are looked for: as Python itself does, because a server runs for
#: months (commands that end soon look less often).
_OBJECTS = 700
#: What requests have to end after SIGTERM.
_END_SECONDS = 5


@dataclass(frozen=True)
class Place:
    """Where to listen: an address (`host` and `port`), or the Unix socket at `path`."""

    host: str = "127.0.0.1"
    port: int = 0
    path: Path | None = None

    @property
    def is_local(self) -> bool:
        """Whether only this host reaches it."""
        if self.path is not None:
            return True
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        return all(each[4][0] in ("::1",) or str(each[4][0]).startswith("127.") for each in found)


def place(text: str, port: int) -> Place:
    """The place that `text` names: HOST:PORT, HOST, [::1]:PORT or unix:PATH. Raises `ValueError`."""
    if text.startswith("unix:"):
        if not text[5:]:
            raise ValueError("unix: needs a path")
        return Place(path=Path(text[5:]))
    host, separator, number = text.rpartition(":")
    if not separator or (":" in host and not host.startswith("[")):
        host, number = text, str(port)
    if not (number.isascii() and number.isdecimal() and int(number) < 1 << 16):
        raise ValueError(f"{text!r} is not HOST:PORT or unix:PATH")
    return Place(host.removeprefix("[").removesuffix("]"), int(number))


def token_of(path: str | None) -> str:
    """The token in the file at `path`, or a new one. Raises `SpyglassError` for a file that cannot hold a secret."""
    if path is None:
        return secrets.token_urlsafe(24)
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_mode & (stat.S_IROTH | stat.S_IWOTH):
            raise SpyglassError(f"{path} can be read or written by every user", f"chmod 600 {path}")
        token = file.read(_MAX_TOKEN_BYTES).decode("ascii", "replace").strip()
    if len(token) < _MIN_TOKEN or not token.isprintable() or " " in token or not token.isascii():
        raise SpyglassError(
            f"the token in {path} must be {_MIN_TOKEN} or more ASCII characters without spaces"
        )
    return token


def run(
    settings: Settings, where: Place, tls: tuple[str, str] | None = None, *, show_token: bool = True
) -> None:
    """Serve until SIGTERM or SIGINT. `tls`: the files of a certificate and its key. The address is printed, and with
    `show_token` the token. Raises OSError if there cannot be listened, `SpyglassError` if something else does."""
    gc.set_threshold(_OBJECTS)
    return_freed_memory()
    with _listening(where) as listener:
        server = _Server(settings, tls)
        # From now on, not only from when it serves; uvicorn raises them again after its end.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, server.handle_exit)
        print(_address(listener, where, settings, show_token), flush=True)
        server.run(sockets=[listener])
        _notify("STOPPING=1")


class _Server(uvicorn.Server):
    """A server whose streams end when it is asked to end, not only some seconds later."""

    def __init__(self, settings: Settings, tls: tuple[str, str] | None) -> None:
        certificate, key = tls or (None, None)
        app = create_app(settings, self._started)
        super().__init__(uvicorn.Config(
            app, http="h11", ws="none", lifespan="on", log_level="error", access_log=False,
            server_header=False, proxy_headers=False, timeout_keep_alive=15, backlog=_BACKLOG,
            timeout_graceful_shutdown=_END_SECONDS, ssl_certfile=certificate, ssl_keyfile=key,
        ))  # fmt: skip
        self._service: Service | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """What SIGTERM and SIGINT call."""
        super().handle_exit(sig, frame)
        if self._service is not None:
            self._service.closing.set()

    def _started(self, service: Service) -> None:
        self._service = service
        _notify("READY=1")


@contextmanager
def _listening(where: Place) -> Iterator[socket.socket]:
    """A socket that listens at `where`."""
    if where.path is not None:
        with _listening_at(where.path) as listener:
            yield listener
        return
    family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
    with socket.create_server(
        (where.host, where.port), family=family, backlog=_BACKLOG
    ) as listener:
        yield listener


@contextmanager
def _listening_at(path: Path) -> Iterator[socket.socket]:
    """A Unix socket that only this user reaches. One that nobody listens at any more is replaced."""
    with socket.socket(socket.AF_UNIX) as listener:
        if path.is_socket():
            with socket.socket(socket.AF_UNIX) as tried:
                if tried.connect_ex(str(path)) == 0:
                    raise SpyglassError(f"another program listens at {path}")
            path.unlink()
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from None
        finally:
            os.umask(before)
        try:
            listener.listen(_BACKLOG)
            yield listener
        finally:
            path.unlink(missing_ok=True)


def _address(listener: socket.socket, where: Place, settings: Settings, show_token: bool) -> str:
    """What the user is told: where it listens, and the token."""
    token = f"?token={settings.token}" if show_token else ""
    if where.path is not None:
        return f"unix:{where.path}" + (f"\ntoken {settings.token}" if show_token else "")
    host, port = listener.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.secure else 'http'}://{name}:{port}/{token}"


def _notify(state: str) -> None:
    """Tell systemd, if it started this (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        notified.connect(address)
        notified.send(state.encode("ascii"))
