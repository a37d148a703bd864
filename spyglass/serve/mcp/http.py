"""The path ``/mcp``: the protocol's streamable HTTP, without sessions; each request is answered for itself.

Who may ask is decided before (`spyglass.serve.access`). The package ``mcp`` is imported when somebody asks first.
"""

from __future__ import annotations

import asyncio
from importlib import import_module
from typing import TYPE_CHECKING

from starlette.types import Receive, Scope, Send

from spyglass.serve.problems import Refusal, problem

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from spyglass.serve.service import Service

__all__ = ["Assistants"]

_MAX_BODY_BYTES = 1 << 18
_EXTRA = "pip install 'spyglass[mcp]' installs what it needs"


class Assistants:
    """The application at the path."""

    def __init__(self) -> None:
        self._starting: asyncio.Task[StreamableHTTPSessionManager] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["method"] != "POST"
        ):  # there is no stream of the server's own, and no session to end
            refusal = Refusal(405, "only POST", headers={"allow": "POST"})
            await problem(refusal)(scope, receive, send)
            return
        try:
            manager = await self._running(scope["app"].state.service)
        except Refusal as refusal:
            await problem(refusal)(scope, receive, send)
            return
        await manager.handle_request(scope, receive, send)

    async def _running(self, service: Service) -> StreamableHTTPSessionManager:
        """What handles requests, which runs until the server ends."""
        if self._starting is None:
            self._starting = asyncio.get_running_loop().create_task(_start(service))
        starting = self._starting
        try:
            return await asyncio.shield(starting)
        finally:
            if starting.done() and (starting.cancelled() or starting.exception()):
                self._starting = None


async def _start(service: Service) -> StreamableHTTPSessionManager:
    try:  # in a thread: it takes seconds on a busy host
        await asyncio.to_thread(import_module, "spyglass.serve.mcp.server")
        await asyncio.to_thread(import_module, "mcp.server.streamable_http_manager")
    except ImportError as error:
        raise Refusal(501, f"{error.name} is not installed", _EXTRA) from None
    started: asyncio.Future[StreamableHTTPSessionManager] = (
        asyncio.get_running_loop().create_future()
    )
    service.in_background(_run(_manager(service), started, service.closing))
    return await started


def _manager(service: Service) -> StreamableHTTPSessionManager:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

    from spyglass.serve.mcp.server import create_server

    return StreamableHTTPSessionManager(
        create_server(service), json_response=True, stateless=True, max_request_body_size=_MAX_BODY_BYTES
    )  # fmt: skip


async def _run(
    manager: StreamableHTTPSessionManager,
    started: asyncio.Future[StreamableHTTPSessionManager],
    closing: asyncio.Event,
) -> None:
    async with manager.run():
        started.set_result(manager)
        await closing.wait()
