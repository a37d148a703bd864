"""The application: routes for the table of operations, behind `spyglass.serve.access`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from spyglass.serve.access import Access
from spyglass.serve.mcp.http import Assistants
from spyglass.serve.operations import Asked, Operation
from spyglass.serve.page import page
from spyglass.serve.parameters import parsed, path_integer
from spyglass.serve.problems import Refusal, problem, problem_of
from spyglass.serve.service import Service
from spyglass.serve.settings import Settings
from spyglass.serve.table import OPERATIONS

__all__ = ["create_app"]

#: The greatest pid of Linux (``PID_MAX_LIMIT``, include/linux/threads.h).
_MAX_PID = 1 << 22
_MAX_ID = (1 << 63) - 1

Endpoint = Callable[[Request], Awaitable[Response]]


def create_app(settings: Settings, started: Callable[[Service], None] | None = None) -> Starlette:
    """The ASGI application of a server with `settings`; `started` is called with its service when it runs."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        service = app.state.service = Service(settings)
        async with service.running():
            if started is not None:
                started(service)
            yield

    routes = [Route(each.path, _endpoint(each), methods=[each.method]) for each in OPERATIONS]
    app = Starlette(
        routes=[
            Route("/healthz", _health),
            Route("/", _page),
            Route("/mcp", Assistants()),
            *routes,
        ],
        middleware=[Middleware(Access, settings=settings)],
        exception_handlers={HTTPException: _http_problem},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False  # a redirect would repeat what the request says is our name
    return app


async def _health(request: Request) -> Response:
    service: Service = request.app.state.service
    lines = ["ok", *(await service.health())]
    return PlainTextResponse("".join(f"{line}\n" for line in lines))


async def _page(_request: Request) -> Response:
    return page()


def _endpoint(operation: Operation) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        service: Service = request.app.state.service
        try:
            values = _path_values(request) | parsed(
                operation.parameters, request.scope["query_string"]
            )
            values |= {
                each.name: each.value(request.headers.getlist(each.name))
                for each in operation.headers
            }
            asked = Asked((operation.name, request.url.path, _hashable(values)), values)
            if operation.handle is not None:
                return await operation.handle(service, asked)
            read = operation.read
            assert read is not None
            answer = await service.pool.read(
                asked.pid, asked.key, lambda program: read(program, values)
            )
            return answer.response()
        except Exception as error:
            return problem_of(error)

    return endpoint


def _path_values(request: Request) -> dict[str, Any]:
    values = dict(request.path_params)
    if "pid" in values:
        values["pid"] = path_integer(values["pid"], "a process id", _MAX_PID)
    if "number" in values:
        values["number"] = path_integer(values["number"], "a goroutine id", _MAX_ID)
    return values


def _hashable(values: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(values.items()))


async def _http_problem(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    hint = "GET /v1/openapi.json lists what there is" if error.status_code == 404 else None
    return problem(Refusal(error.status_code, error.detail, hint, error.headers))
