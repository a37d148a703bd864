"""``spyglass serve``: what the commands show, over HTTP."""

from __future__ import annotations

import functools
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from spyglass.cli.common_options import debug_option
from spyglass.cli.mcp import assistant_options
from spyglass.cli.serve_jobs import JobOptions, job_options
from spyglass.errors import SpyglassError
from spyglass.serve.settings import DEFAULT_PORT

if TYPE_CHECKING:
    from spyglass.serve.run import Place

__all__ = ["serve"]


@dataclass(frozen=True)
class _Address:
    """Where to listen, the files of a certificate and its key, whether TLS may be missing, and names of this host."""

    listen: str
    certificate: str | None
    key: str | None
    insecure: bool
    names: tuple[str, ...]

    def place(self) -> Place:
        """Where to listen. Raises `click.UsageError` for what others on the network could read or pretend."""
        from spyglass.serve.run import place

        try:
            where = place(self.listen, DEFAULT_PORT)
            is_local = where.is_local
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--listen") from None
        except socket.gaierror:
            raise click.BadParameter(
                f"no address is known for {self.listen!r}", param_hint="--listen"
            ) from None
        if (self.certificate is None) != (self.key is None):
            raise click.UsageError("--tls-cert and --tls-key belong together")
        if self.certificate is None and not is_local and not self.insecure:
            raise click.UsageError(
                f"{self.listen} is reached from other hosts: give --tls-cert and --tls-key, or --insecure"
            )
        return where

    def tls(self) -> tuple[str, str] | None:
        """The files of the certificate and of its key."""
        return (
            None if self.certificate is None or self.key is None else (self.certificate, self.key)
        )


def _address_options(command: Callable[..., None]) -> Callable[..., None]:
    @click.option(
        "--listen", default=f"127.0.0.1:{DEFAULT_PORT}", show_default=True, metavar="PLACE",
        help="HOST:PORT, or unix:PATH for a socket that only this user reaches.",
    )  # fmt: skip
    @click.option(
        "--tls-cert",
        "certificate",
        type=click.Path(exists=True, dir_okay=False),
        metavar="FILE",
        help="Certificate, with its chain, in PEM.",
    )
    @click.option(
        "--tls-key",
        "key",
        type=click.Path(exists=True, dir_okay=False),
        metavar="FILE",
        help="Its key, in PEM.",
    )
    @click.option(
        "--insecure",
        is_flag=True,
        help="Listen without TLS where other hosts reach it: they can read the token.",
    )
    @click.option(
        "--host-name",
        "names",
        multiple=True,
        metavar="NAME",
        help="A name of this host that requests may be for, beside localhost and IP addresses (repeatable).",
    )
    @functools.wraps(command)
    def wrapper(
        listen: str,
        certificate: str | None,
        key: str | None,
        insecure: bool,
        names: tuple[str, ...],
        **others: Any,
    ) -> None:
        command(address=_Address(listen, certificate, key, insecure, names), **others)

    return wrapper


def _percent(_context: click.Context, _option: click.Parameter, text: str) -> float:
    number = text.removesuffix("%")
    if not (number.isascii() and number.isdecimal() and 1 <= int(number) <= 10_000):
        raise click.BadParameter(f"{text!r} is not a percentage such as 30%")
    return int(number) / 100


@click.command("serve", short_help="Serve what the commands show over HTTP.")
@_address_options
@click.option(
    "--token-file", type=click.Path(exists=True, dir_okay=False), metavar="FILE",
    help="The token that requests must have (default: a new one, which is printed).",
)  # fmt: skip
@click.option(
    "--max-cpu", callback=_percent, default="30%", show_default=True, metavar="PERCENT",
    help="How much of one processor reading may take in the long run; requests wait for their turn.",
)  # fmt: skip
@click.option(
    "--readings",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    metavar="N",
    help="How many processes are read at once.",
)
@click.option(
    "--top-groups", type=click.IntRange(0, 1000), default=20, show_default=True, metavar="N",
    help="How many groups of goroutines of each process /metrics has.",
)  # fmt: skip
@click.option(
    "--heap-metrics", is_flag=True,
    help="Read the heap for /metrics, too, to count goroutines that nothing can wake.",
)  # fmt: skip
@assistant_options
@job_options
@debug_option
def serve(address: _Address, token_file: str | None, jobs: JobOptions, **limits: Any) -> None:
    """Serve what the commands show of the Go processes of this host over HTTP, until SIGTERM or Ctrl-C.

    It changes no process, and stops none without --allow-stop. Every request needs the token: as "Authorization: Bearer TOKEN",
    as the password in the URL, or as ?token=TOKEN, which also sets a cookie. Processes that this user may not
    read are refused. The address that is printed opens a page in a browser. GET /v1/openapi.json describes all paths.

    \b
      spyglass serve
      spyglass serve --listen unix:/run/spyglass.sock
      spyglass serve --listen 0.0.0.0:8974 --tls-cert cert.pem --tls-key key.pem --token-file token
      spyglass serve --archive s3://snapshots/prod --every 1m
      curl -H "Authorization: Bearer TOKEN" http://127.0.0.1:8974/v1/processes
    """
    from spyglass.memory.arenas import use_one_arena

    use_one_arena()
    try:
        from spyglass.serve.run import run, token_of
        from spyglass.serve.settings import Settings
    except ImportError as error:
        raise SpyglassError(
            f"for serve Python's {error.name} is needed, and it is not installed",
            "`pip install 'spyglass[serve]'`",
        ) from None
    where = address.place()
    names = None if where.path is not None else frozenset(name.lower() for name in address.names)
    settings = Settings(
        token_of(token_file),
        hosts=names,
        secure=address.certificate is not None,
        archive=jobs.archive_plan(),
        push=jobs.push_plan(),
        **limits,
    )
    run(settings, where, address.tls(), show_token=token_file is None)
