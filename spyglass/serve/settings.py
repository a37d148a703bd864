"""What ``spyglass serve`` is told when it starts, and its limits."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DEFAULT_PORT", "Settings"]

DEFAULT_PORT = 8974


@dataclass(frozen=True)
class Settings:
    """The settings of a server.

    `token`: what every request must have. `hosts`: names in the Host header that are accepted beside
    IP addresses and localhost, in lower case; None: any (a Unix socket, which no browser reaches). `secure`: it speaks TLS, so its
    cookie is for TLS alone. `max_cpu`: the share of one processor that readings may take over time. `readings`: how
    many at once. `waiting`: how many may wait for their turn. `limit_s`: how long a request waits for its answer.
    `idle_s`: an inspector that nobody used for so long is closed. `inspectors`: how many are open at most.
    `requests`: how many are answered at once. `streams`: how many live views there are at once. `recordings`: how
    many at once. `kept`: how many snapshots are kept, and how many recordings that have ended.
    """

    token: str
    hosts: frozenset[str] | None = frozenset()
    secure: bool = False
    max_cpu: float = 0.3
    readings: int = 4
    waiting: int = 256
    limit_s: float = 30.0
    idle_s: float = 60.0
    inspectors: int = 16
    requests: int = 2048
    streams: int = 16
    recordings: int = 4
    kept: int = 32
