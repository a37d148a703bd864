"""The protocol over standard input and output, for an assistant that starts ``spyglass mcp`` itself."""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from mcp.server.stdio import stdio_server

from spyglass.serve.mcp.server import create_server
from spyglass.serve.service import Service
from spyglass.serve.settings import Settings

__all__ = ["run"]


def run(settings: Settings) -> None:
    """Serve until the end of standard input, SIGTERM or SIGINT."""
    asyncio.run(_serve(settings))


async def _serve(settings: Settings) -> None:
    service = Service(settings)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _end)
    async with service.running(), stdio_server() as (read, write):
        server = create_server(service)
        await server.run(read, write, server.create_initialization_options())


def _end() -> None:
    """End at once: a thread waits for input, and would be waited for."""
    sys.stderr.flush()
    os._exit(0)
