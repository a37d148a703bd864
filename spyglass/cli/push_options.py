"""``--push``: profiles to a server of profiles."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from spyglass.errors import SpyglassError
from spyglass.escape import visible

if TYPE_CHECKING:
    from spyglass.profile import Profile
    from spyglass.push.destination import Destination

__all__ = ["PushOptions", "Send", "push_header_option", "push_options"]

#: Sends a profile, or raises `SpyglassError`.
Send = Callable[["Profile"], object]

_MAX_TOKEN_BYTES = 16384
_VARIABLE = "SPYGLASS_PUSH_TOKEN"


@dataclass(frozen=True)
class PushOptions:
    """Where to push profiles: a `url`, the file of a token, headers as they were given, and the name of the service."""

    url: str
    token_file: str | None
    headers: tuple[str, ...] = ()
    service: str | None = None

    def destination(self) -> Destination:
        """Raises `SpyglassError` for a URL or a token that cannot be."""
        from spyglass.push.destination import destination
        from spyglass.push.headers import push_headers

        headers, secret = push_headers(self.headers)
        return destination(self.url, _token(self.token_file), headers, secret=secret)

    def send(self, profile: Profile, to: Destination) -> None:
        """Send `profile` now; tried three times. Raises `SpyglassError`."""
        from spyglass.fleet.delivery import write_with_retries
        from spyglass.fleet.local_store import File
        from spyglass.push.forms import request
        from spyglass.push.pusher import Pusher

        data = request(profile, to.form, self.service).packed()
        try:
            write_with_retries(Pusher(to), File("profile", data))
        except OSError as error:
            words = str(error.strerror or error)
            where = "" if to.shown in words else f"{to.shown}: "
            raise SpyglassError(f"not pushed: {where}{words}") from None
        click.echo(visible(f"pushed to {to.shown}"), err=True)


#: Adds ``--push-header``: calls the command with ``push_headers``.
push_header_option = click.option(
    "--push-header", "push_headers", multiple=True, metavar="NAME: VALUE|@FILE",
    help="A header for --push, such as 'X-Scope-OrgID: TENANT', or a file of them, one on each line, for secrets (repeatable).",
)  # fmt: skip


def push_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add --push, --push-token-file, --push-header and --service: calls `command` with ``push``, which may be None."""

    @click.option("--push", "push_url", metavar="URL",
        help="Send profiles to Pyroscope (http://host:4040, or its path /push.v1.PusherService/Push); experimental: as OTLP"
        " (http://host:4318/v1development/profiles).",
    )  # fmt: skip
    @click.option("--push-token-file", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
        help=f"Token for --push: a bearer, or the password of the user in the URL (default: {_VARIABLE}).",
    )  # fmt: skip
    @push_header_option
    @click.option("--service", metavar="NAME",
        help="Service that the process belongs to, with --push (default: name of the executable).",
    )  # fmt: skip
    @functools.wraps(command)
    def wrapper(
        push_url: str | None,
        push_token_file: str | None,
        push_headers: tuple[str, ...],
        service: str | None,
        **others: Any,
    ) -> None:
        if push_url is None and (push_token_file, push_headers, service) != (None, (), None):
            raise click.UsageError("--push-token-file, --push-header and --service require --push")
        push = (
            None
            if push_url is None
            else PushOptions(push_url, push_token_file, push_headers, service)
        )
        command(push=push, **others)

    return wrapper


def _token(path: str | None) -> str | None:
    """The token in the file, or else in the environment; None: there is none."""
    if path is None:
        token = os.environ.get(_VARIABLE) or None
    else:
        with open(path, "rb") as file:
            token = file.read(_MAX_TOKEN_BYTES).decode("ascii", "replace").strip()
    if token is not None and not re.fullmatch(r"[!-~]+", token):
        raise SpyglassError("the token of --push is no text of ASCII characters")
    return token
