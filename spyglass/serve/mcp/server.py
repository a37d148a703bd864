"""The server of the Model Context Protocol: tools and resources, whatever carries the messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mcp_types as types
from mcp.server import Server, ServerRequestContext
from mcp.shared.exceptions import MCPError

from spyglass.errors import SpyglassError
from spyglass.serve.mcp import views
from spyglass.serve.mcp.arguments import input_schema
from spyglass.serve.mcp.saved import item, items
from spyglass.serve.mcp.shorten import NOTE, answer, harmless, text_of
from spyglass.serve.mcp.tools import TOOLS, Tool, call, parameters
from spyglass.serve.problems import Refusal, log
from spyglass.version import __version__

if TYPE_CHECKING:
    from spyglass.serve.service import Service

__all__ = ["create_server"]

_JSON = "application/json"
_INSTRUCTIONS = (
    "spyglass looks into running Go processes from outside: nothing is stopped or changed unless a tool says so. "
    "Begin with list_processes, then summarize; its findings say where to look next. Times are in ns, sizes in bytes; what is not "
    "known is left out. Answers are short: left_out says what is missing, and which offset shows more. "
    + NOTE
)
_BY_NAME = {each.name: each for each in TOOLS}

Context = ServerRequestContext[Any]
Page = types.PaginatedRequestParams | None


def create_server(service: Service) -> Server[Any]:
    """A server whose tools and resources are those of `service`."""

    async def list_tools(_context: Context, _page: Page) -> types.ListToolsResult:
        allowed = service.settings.allow_stop
        return types.ListToolsResult(tools=[_described(each, allow_stop=allowed) for each in TOOLS])

    async def call_tool(_context: Context, asked: types.CallToolRequestParams) -> types.CallToolResult:  # fmt: skip
        tool = _BY_NAME.get(asked.name)
        if tool is None:
            raise MCPError(types.INVALID_PARAMS, f"there is no tool {harmless(asked.name[:64])}")
        try:
            content = await call(service, tool, asked.arguments)
        except Exception as error:
            return types.CallToolResult(content=[_text(_words(error))], is_error=True)
        return types.CallToolResult(content=[_text(text_of(content))], structured_content=content)

    async def list_resources(_context: Context, _page: Page) -> types.ListResourcesResult:
        try:
            found = items(service).values()
        except SpyglassError as error:
            raise MCPError(types.INTERNAL_ERROR, _words(error)) from None
        return types.ListResourcesResult(
            resources=[
                types.Resource(name=each.name, uri=each.uri, description=f"A saved snapshot, {each.about}; reading it gives its summary.",
                               mime_type=_JSON, size=each.size)
                for each in found
            ]
        )  # fmt: skip

    async def read_resource(_context: Context, asked: types.ReadResourceRequestParams) -> types.ReadResourceResult:  # fmt: skip
        try:
            saved = item(service, str(asked.uri))
            content = await service.readings.share(
                ("saved", saved.name), "summary", lambda: answer(views.summary(saved.open(), {}))
            )
        except Exception as error:
            raise MCPError(types.INVALID_PARAMS, _words(error)) from None
        shown = types.TextResourceContents(uri=saved.uri, mime_type=_JSON, text=text_of(content))
        return types.ReadResourceResult(contents=[shown])

    return Server(
        "spyglass", version=__version__, instructions=_INSTRUCTIONS, on_list_tools=list_tools, on_call_tool=call_tool,
        on_list_resources=list_resources, on_read_resource=read_resource,
    )  # fmt: skip


def _described(tool: Tool, *, allow_stop: bool) -> types.Tool:
    hints = types.ToolAnnotations(
        title=tool.title, read_only_hint=not (allow_stop and tool.stops), destructive_hint=False, open_world_hint=False
    )  # fmt: skip
    return types.Tool(
        name=tool.name, title=tool.title, description=tool.about, annotations=hints,
        input_schema=input_schema(parameters(tool, allow_stop=allow_stop), tool.required), output_schema=_output(tool),
    )  # fmt: skip


def _output(tool: Tool) -> dict[str, Any]:
    """The JSON schema of the structured content of an answer."""
    fields = {name: {"type": kind, "description": about} for name, (kind, about) in tool.fields.items()}  # fmt: skip
    left_out = {
        "type": "object",
        "properties": {"what": {"type": "string"}, "count": {"type": "integer"}, "ask": {"type": "string"}},
        "required": ["what", "count"],
    }  # fmt: skip
    return {
        "type": "object",
        "properties": {
            "note": {"type": "string", "description": "How to take the data."},
            "data": {"type": "object", "properties": fields, "description": "What was read of the program."},
            "left_out": {"type": "array", "items": left_out, "description": "What there is beside this, and how to ask for it."},
        },
        "required": ["note", "data", "left_out"],
    }  # fmt: skip


def _text(text: str) -> types.TextContent:
    return types.TextContent(text=text)


def _words(error: Exception) -> str:
    """One line on what is wrong, and what to do about it."""
    if not isinstance(error, Refusal | SpyglassError):
        log(error)
        return "internal error; the log of spyglass says more"
    hint = f" ({error.hint})" if error.hint else ""
    return harmless(f"{error.message}{hint}")[:1000]
