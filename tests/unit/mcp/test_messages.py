"""The Model Context Protocol in both revisions: the answer to each request."""

import base64
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from fastrpc.mcp.messages import Answer, Conversation, ToolCall, tool_failure, tool_result
from tests.unit.mcp.test_tools import Shop, tools

TOOLS = tools(Shop)
MODERN = "2026-07-28"
LEGACY = "2025-11-25"
EARLIER = "2025-06-18"
REVISIONS = [MODERN, LEGACY, EARLIER]
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
}


def sent(
    body: Any, fields: dict[str, str] | None = None, may_call: Callable[[Any], bool] = lambda _: True
) -> Answer | ToolCall:
    given = {name.lower(): value for name, value in (fields or {}).items()}
    content = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return Conversation("shop", lambda: TOOLS).take(content, given.get, may_call)


def request(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}


def modern(method: str, /, fields: dict[str, str] | None = None, **params: Any) -> Answer | ToolCall:
    heads = {"MCP-Protocol-Version": MODERN, "Mcp-Method": method}
    if "name" in params:
        heads["Mcp-Name"] = params["name"]
    return sent(request(method, **{"_meta": META, **params}), heads | (fields or {}))


def answered(found: Answer | ToolCall, status: int = 200) -> dict[str, Any]:
    """Return the message of an answer as a client reads it."""
    assert isinstance(found, Answer)
    assert found.status == status
    message: dict[str, Any] = msgspec.json.decode(found.content)
    assert message["jsonrpc"] == "2.0"
    return message


def failed(found: Answer | ToolCall, status: int, code: int) -> dict[str, Any]:
    error: dict[str, Any] = answered(found, status)["error"]
    assert error["code"] == code
    return error


class TestEarlierRevision:
    @pytest.mark.parametrize("revision", [LEGACY, EARLIER])
    def test_a_session_begins_with_initialize_and_has_no_id(self, revision: str) -> None:
        result = answered(sent(request("initialize", protocolVersion=revision)))["result"]
        assert result["protocolVersion"] == revision
        assert result["capabilities"] == {"tools": {}}
        assert result["serverInfo"]["name"] == "fastrpc"

    @pytest.mark.parametrize("params", [{"protocolVersion": "2024-11-05"}, {"protocolVersion": MODERN}, {}])
    def test_a_client_of_another_revision_is_told_this_one(self, params: dict[str, str]) -> None:
        result = answered(sent(request("initialize", **params)))["result"]
        assert result["protocolVersion"] == LEGACY

    def test_notifications_are_taken(self) -> None:
        found = sent({"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert (found, found.content) == (Answer(202), b"")  # type: ignore[union-attr]

    def test_a_ping_is_answered(self) -> None:
        assert answered(sent(request("ping")))["result"] == {}

    @pytest.mark.parametrize(
        "fields", [{}, {"MCP-Protocol-Version": LEGACY}, {"MCP-Protocol-Version": EARLIER}]
    )
    def test_tools_are_listed_and_called(self, fields: dict[str, str]) -> None:
        listed = answered(sent(request("tools/list"), fields))["result"]["tools"]
        assert [tool["name"] for tool in listed] == list(TOOLS)
        call = sent(request("tools/call", name="shop_v1_find", arguments={"name": "tea"}), fields)
        assert call == ToolCall(TOOLS["shop_v1_find"], b'{"name":"tea"}', 7, LEGACY)

    def test_another_revision_in_the_head_is_refused(self) -> None:
        found = sent(request("tools/list"), {"MCP-Protocol-Version": "2025-03-26"})
        assert failed(found, 400, -32022)["data"]["supported"] == REVISIONS

    def test_an_unknown_method_is_reported(self) -> None:
        failed(sent(request("resources/list")), 200, -32601)


class TestLaterRevision:
    def test_a_server_is_discovered(self) -> None:
        result = answered(modern("server/discover"))["result"]
        assert result["supportedVersions"] == REVISIONS
        assert result["capabilities"] == {"tools": {}}
        assert result["resultType"] == "complete"
        assert result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"] == "fastrpc"

    def test_tools_are_listed_for_their_caller(self) -> None:
        result = answered(modern("tools/list"))["result"]
        assert [tool["name"] for tool in result["tools"]] == list(TOOLS)
        assert result["tools"][0]["outputSchema"]["type"] == "array"
        assert (result["resultType"], result["cacheScope"]) == ("complete", "private")
        assert result["ttlMs"] > 0

    def test_a_tool_is_called(self) -> None:
        found = modern("tools/call", name="shop_v1_add")
        assert found == ToolCall(TOOLS["shop_v1_add"], b"{}", 7, MODERN)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("MCP-Protocol-Version", LEGACY),
            ("Mcp-Method", "tools/list"),
            ("Mcp-Name", "shop_v1_put"),
            ("Mcp-Name", "=?base64?!?="),
        ],
    )
    def test_a_field_that_says_otherwise_is_refused(self, name: str, value: str) -> None:
        failed(modern("tools/call", {name: value}, name="shop_v1_add"), 400, -32020)

    @pytest.mark.parametrize("name", ["MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"])
    def test_a_missing_field_is_refused(self, name: str) -> None:
        fields = {
            "MCP-Protocol-Version": MODERN,
            "Mcp-Method": "tools/call",
            "Mcp-Name": "shop_v1_add",
        }
        del fields[name]
        failed(sent(request("tools/call", _meta=META, name="shop_v1_add"), fields), 400, -32020)

    def test_a_message_that_says_no_revision_is_refused(self) -> None:
        fields = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/list"}
        failed(sent(request("tools/list"), fields), 400, -32020)

    def test_a_name_may_be_written_in_base64(self) -> None:
        text = base64.b64encode(b"shop_v1_add").decode()
        found = modern("tools/call", {"Mcp-Name": f"=?base64?{text}?="}, name="shop_v1_add")
        assert isinstance(found, ToolCall)

    @pytest.mark.parametrize("told", ["1900-01-01", LEGACY, EARLIER])
    def test_another_revision_is_refused_with_the_known_ones(self, told: str) -> None:
        meta = {**META, "io.modelcontextprotocol/protocolVersion": told}
        found = modern("tools/list", {"MCP-Protocol-Version": told}, _meta=meta)
        error = failed(found, 400, -32022)
        assert error["data"] == {"supported": REVISIONS, "requested": told}

    def test_a_client_must_state_its_capabilities(self) -> None:
        meta = {"io.modelcontextprotocol/protocolVersion": MODERN}
        failed(modern("tools/list", _meta=meta), 400, -32602)

    @pytest.mark.parametrize("method", ["ping", "resources/list", "subscriptions/listen", "initialized"])
    def test_an_unknown_method_is_not_found(self, method: str) -> None:
        failed(modern(method), 404, -32601)


class TestRefusals:
    @pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
    def test_invalid_json_is_refused(self, body: bytes) -> None:
        found = sent(body)
        assert isinstance(found, Answer)
        assert found.status == 400
        assert msgspec.json.decode(found.content)["error"]["code"] in {-32700, -32600}

    @pytest.mark.parametrize(
        "body",
        [
            [request("ping")],
            [],
            3,
            {"jsonrpc": "1.0", "id": 1, "method": "ping"},
            {"id": 1, "method": "ping"},
            {"jsonrpc": "2.0", "id": 1},
            {"jsonrpc": "2.0", "id": None, "method": "ping"},
            {"jsonrpc": "2.0", "id": [1], "method": "ping"},
            {"jsonrpc": "2.0", "id": "x" * 1_025, "method": "ping"},
            {"jsonrpc": "2.0", "id": 1, "result": {}},
        ],
    )
    def test_batches_and_non_requests_are_refused(self, body: Any) -> None:
        assert "id" not in answered(sent(body), 400)
        failed(sent(body), 400, -32600)

    @pytest.mark.parametrize(
        ("method", "params"),
        [
            ("ping", [1]),
            ("ping", {"_meta": 3}),
            ("initialize", {"protocolVersion": 3}),
            ("tools/call", {"name": 3}),
            ("tools/call", {"arguments": {}}),
            ("tools/list", {"cursor": 3}),
            ("tools/list", {"cursor": "forged"}),
        ],
    )
    @pytest.mark.parametrize("fields", [{}, {"MCP-Protocol-Version": MODERN}])
    def test_params_that_do_not_fit_are_refused_under_the_id(
        self, method: str, params: Any, fields: dict[str, str]
    ) -> None:
        found = sent({**request(method), "params": params}, fields)
        failed(found, 400, -32602)
        assert answered(found, 400)["id"] == 7

    def test_params_that_are_not_text_are_no_json(self) -> None:
        body = b'{"jsonrpc":"2.0","id":7,"method":"ping","params":{"_meta":{"a":"\xff"}}}'
        failed(sent(body), 400, -32700)

    def test_the_names_of_params_have_no_meaning_for_other_methods(self) -> None:
        params: dict[str, Any] = {"name": 3, "cursor": 3, "protocolVersion": 3, "_meta": None}
        assert answered(sent(request("ping", **params)))["result"] == {}
        failed(sent(request("resources/read", **params)), 200, -32601)

    @pytest.mark.parametrize("send", [modern, lambda *args, **named: sent(request(*args, **named))])
    def test_an_unknown_tool_and_a_forbidden_tool_get_the_same_answer(self, send: Any) -> None:
        unknown = failed(send("tools/call", name="shop_v1_hidden"), 200, -32602)
        fields = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "shop_v1_find"}
        forbidden = sent(request("tools/call", _meta=META, name="shop_v1_find"), fields, lambda tool: False)
        found = failed(forbidden, 200, -32602)
        assert found["message"].replace("find", "hidden") == unknown["message"]

    def test_only_tools_that_the_caller_may_call_are_listed(self) -> None:
        found = sent(request("tools/list"), may_call=lambda tool: tool.method.name == "add")
        assert [tool["name"] for tool in answered(found)["result"]["tools"]] == ["shop_v1_add"]


class TestResults:
    @pytest.mark.parametrize("revision", [MODERN, LEGACY])
    def test_an_object_is_reported_as_text_and_as_a_value(self, revision: str) -> None:
        call = ToolCall(TOOLS["shop_v1_put"], b"{}", "a", revision)
        result = answered(tool_result(call, b'{"value":"1"}'))["result"]
        assert result["content"] == [{"type": "text", "text": '{"value":"1"}'}]
        assert result["structuredContent"] == {"value": "1"}
        assert result["isError"] is False
        assert ("resultType" in result) is (revision == MODERN)

    def test_another_value_is_told_to_clients_that_take_any(self) -> None:
        found = [
            answered(tool_result(ToolCall(TOOLS["shop_v1_find"], b"{}", 1, revision), b"[]"))["result"]
            for revision in (MODERN, LEGACY)
        ]
        assert [one.get("structuredContent", "none") for one in found] == [[], "none"]

    def test_a_text_is_told_without_its_quotes(self) -> None:
        result = answered(tool_result(ToolCall(TOOLS["shop_v1_add"], b"{}", 1, LEGACY), b'"a\\"b"'))["result"]
        assert result == {"content": [{"type": "text", "text": 'a"b'}], "isError": False}

    def test_a_failure_of_the_handler_is_a_result_that_a_model_reads(self) -> None:
        found = answered(tool_failure(ToolCall(TOOLS["shop_v1_add"], b"{}", 1, MODERN), "no such thing"))
        assert found["result"]["isError"] is True
        assert found["result"]["content"] == [{"type": "text", "text": "no such thing"}]

    def test_a_refusal_of_the_server_is_an_error_of_the_protocol(self) -> None:
        refused = {"code": "RESOURCE_EXHAUSTED", "processed": "no", "retry_after": 1.0}
        call = ToolCall(TOOLS["shop_v1_add"], b"{}", 1, MODERN)
        assert failed(tool_failure(call, "too many", refused=refused), 200, -32001)["data"] == refused
