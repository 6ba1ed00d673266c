"""Tools of language models (https://modelcontextprotocol.io) at a fixed path of the HTTP gateway.

A call of a tool is checked like any other call. A caller without an identity gets status 401 if a token may help. A
caller does not see tools that it may not call.
"""

from collections.abc import Sequence
from typing import Final

from fastrpc._core.http.responses import problem
from fastrpc._core.link.failure import Failure
from fastrpc._core.payload.coders import PayloadScan
from fastrpc._core.payload.double_keys import find_double_key
from fastrpc.assigned_numbers import CODECS
from fastrpc.mcp.messages import Answer, Conversation, ToolCall, refused_body, tool_failure, tool_result
from fastrpc.mcp.tools import Tool, tools_of
from fastrpc.rpc.definition import ServiceDefinition
from fastrpc.server.http.paths import HttpAnswer, HttpRequest, Outcome, Path
from fastrpc.status import Status

__all__ = ["Tools", "mcp_path"]

_JSON: Final = CODECS["json"]

_UNAUTHORIZED: Final = HttpAnswer(401, fields=(("WWW-Authenticate", "Bearer"),))


class Tools:
    """The tools of a server. They are created again after services were added or removed."""

    def __init__(self, services: Sequence[ServiceDefinition]) -> None:
        self._services = services
        self._known: tuple[ServiceDefinition, ...] = ()
        self._tools: dict[str, Tool] = {}

    def __call__(self) -> dict[str, Tool]:
        """Return the tools by name.

        Raises:
            ConfigError: a method cannot be a tool.
        """
        # Omit bare functions, which only Go callers can call.
        services = tuple(one for one in self._services if one.name)
        if services != self._known:
            self._tools = tools_of(method for service in services for method in service.methods.values())
            self._known = services
        return self._tools


def mcp_path(tools: Tools, *, depth: int, items: int) -> Path:
    """Return the handler of the MCP path.

    Args:
        depth: the deepest nesting of a body.
        items: the most values in a body.
    """
    scan = PayloadScan(_JSON)
    conversation = Conversation("fastrpc", tools)

    def handle(request: HttpRequest) -> HttpAnswer | None:
        found, _ = scan.scan(request.body, max_depth=depth, max_items=items)
        if found != "ok":
            return _answer(refused_body(f"the body is {found}"))
        double = find_double_key(_JSON, request.body)
        if double is not None:
            return _answer(refused_body(f"{double!r:.100} comes twice in one map"))
        caller = _Caller(request)
        told = conversation.take(request.body, caller.field, caller.may_call)
        if caller.is_unknown:
            return _UNAUTHORIZED
        if isinstance(told, ToolCall):
            _call(request, told)
            return None
        return _answer(told)

    return Path(verbs=("POST",), handle=handle, content_types=("application/json",), needs_identity=True)


class _Caller:
    """The sender of a request, with its access to tools."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request
        self._has_granted = self._has_refused = False

    @property
    def is_unknown(self) -> bool:
        """True if a token may help: the caller has no identity, and every requested tool was refused."""
        return self._request.identity is None and self._has_refused and not self._has_granted

    def field(self, name: str) -> str | None:
        """Return the value of a header field. The values of a repeated field are joined."""
        return ", ".join(self._request.head.values(name)) or None

    def may_call(self, tool: Tool | None) -> bool:
        """Return whether the caller may call a tool. A missing tool is treated like a forbidden tool."""
        route = None if tool is None else self._request.routes.get(tool.method.full_name)
        may = self._request.may_call(route)
        self._has_granted |= may
        self._has_refused |= not may
        return may and route is not None


def _call(request: HttpRequest, told: ToolCall) -> None:
    # Do not keep the arguments: the memory limit counts them only in the call itself.
    call = told._replace(arguments=b"")

    def done(outcome: Outcome) -> None:
        failure = outcome.failure
        if failure is None:
            request.answer(_answer(tool_result(call, outcome.value or b"null")))
        else:
            request.answer(_answer(_failed(call, failure)))

    request.call(call.tool.method.full_name, told.arguments, done)


def _failed(call: ToolCall, failure: Failure) -> Answer:
    if failure.has_run or failure.status == Status.INVALID_ARGUMENT:
        return tool_failure(call, failure.text)
    document = problem(failure, _JSON)
    names: tuple[str, ...] = ("code", "processed", "retry_after")
    told = {name: document[name] for name in names if name in document}
    return tool_failure(call, failure.text, refused=told)


def _answer(answer: Answer) -> HttpAnswer:
    content = answer.content
    return HttpAnswer(answer.status, "application/json" if content else "", content)
