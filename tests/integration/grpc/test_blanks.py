"""Blanks at the ends of values: gRPC allows them in requests and answers, and we send none."""

from typing import Any

import grpc
import pytest
from h2.errors import ErrorCodes

import fastrpc
from fastrpc import CallError, Status, current_call
from fastrpc.grpc import aio
from tests.support.either_client import CLIENTS, connected, either
from tests.support.generated import generated
from tests.support.grpc_peer import Answer, message, served_grpc
from tests.support.orders import item, servicer_with
from tests.support.scripted_grpc import HEAD, ScriptedPeer, scripted_grpc

pytestmark = pytest.mark.one_loop

SHOW = "/test.v1.Show/show"


@fastrpc.service("test.v1.Show")
class Show:
    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []

    @fastrpc.method(codec="raw")
    async def show(self, data: bytes) -> bytes:
        self.seen.append(dict(current_call().metadata.entries))
        current_call().reply_metadata["x-said"] = "\t v "
        return data

    @fastrpc.method(codec="raw")
    async def fail(self, data: bytes) -> bytes:
        call = current_call()
        call.reply_metadata = {"x-good": "1", "x-bad": "caf\u00e9", "x-said": " v ", "x-bin": b"\xff"}
        raise CallError(Status.NOT_FOUND, "no such order: ")


class TestRequests:
    async def test_values_come_as_they_were_sent(self) -> None:
        show = Show()
        async with served_grpc(show) as link:
            # The second block refers to the fields of the first one in the table of HPACK.
            for _ in range(2):
                fields = [
                    ("x-end", "v "),
                    ("x-begin", " v"),
                    ("x-tab", "\tv\t"),
                    ("x-all", "  "),
                    ("x-bin", " AAE "),
                ]
                answer = await link.call(SHOW, b"a", [*fields, ("user-agent", "grpc-python/1 shop ")])
                assert (answer.status, answer.messages) == (Status.OK, [b"a"])
                seen = show.seen.pop()
                assert {key: seen[key] for key, _ in fields} == {
                    "x-end": "v ",
                    "x-begin": " v",
                    "x-tab": "\tv\t",
                    "x-all": "  ",
                    "x-bin": b"\0\1",
                }
                assert seen["user-agent"] == "grpc-python/1 shop "

    @pytest.mark.parametrize(
        "kind", ["application/grpc+proto", "application/grpc-web+proto", "Application/gRPC"]
    )
    async def test_each_content_type_of_grpc_may_have_them(self, kind: str) -> None:
        async with served_grpc(Show()) as link:
            answer = await link.call(SHOW, b"a", [("x-end", "v ")], kind=kind)
            assert answer.reset is None

    @pytest.mark.parametrize("field", ["te", "host", "content-length", "content-type", ":path", ":authority"])
    @pytest.mark.parametrize("blank", [" {}", "{} ", "{}\t"])
    async def test_fields_that_frame_a_message_stay_strict(self, field: str, blank: str) -> None:
        values = {
            "te": "trailers",
            "host": "localhost",
            "content-length": "0",
            "content-type": "application/grpc",
            ":path": SHOW,
            ":authority": "localhost",
        }
        async with served_grpc(Show()) as link:
            for form, reset in (("{}", None), (blank, ErrorCodes.PROTOCOL_ERROR)):
                stream = link.h2.get_next_available_stream_id()
                fields = {":method": "POST", ":scheme": "http", **values, field: form.format(values[field])}
                link.answers[stream] = Answer()
                link.h2.send_headers(stream, sorted(fields.items()), end_stream=True)
                assert (await link.end(stream)).reset == reset

    @pytest.mark.parametrize("kind", [None, "application/json", "application/grp", "text/application/grpc"])
    async def test_other_requests_stay_strict_and_the_table_continues(self, kind: str | None) -> None:
        show = Show()
        async with served_grpc(show) as link:
            fields = [("x-end", "v "), ("x-other", "w")]
            assert (await link.call(SHOW, b"a", fields)).status == Status.OK
            answer = await link.call(SHOW, b"a", fields, kind=kind)
            assert answer.reset == ErrorCodes.PROTOCOL_ERROR
            # It referred to the raw value in the table, and so does this one.
            assert (await link.call(SHOW, b"a", fields)).status == Status.OK
            assert show.seen[-1]["x-end"] == "v "

    async def test_trailers_of_a_request_may_have_them(self) -> None:
        async with served_grpc(Show()) as link:
            stream = link.open(SHOW)
            link.send(stream, message(b"a"))
            link.h2.send_headers(stream, [("x-end", "v ")], end_stream=True)
            link.flush()
            assert (await link.end(stream)).status == Status.OK


def raw(peer: ScriptedPeer) -> ScriptedPeer:
    """Make h2 send invalid values, as the test gives them."""
    peer.h2.config.normalize_outbound_headers = False
    peer.h2.config.validate_outbound_headers = False
    return peer


@pytest.mark.parametrize("kind", CLIENTS)
class TestAnswers:
    async def test_an_error_keeps_its_status_and_text(self, kind: str) -> None:
        async def script(peer: ScriptedPeer) -> None:
            while True:
                raw(peer).refuse(
                    await peer.request(), grpc_status="5", grpc_message="no such order: ", x_end="v "
                )

        async with scripted_grpc(script) as server, connected(kind, server.target) as client:
            for _ in range(2):
                with pytest.raises(CallError) as caught:
                    await client.call("test.Echo.Echo", b"")
                assert (caught.value.status, caught.value.message) == (Status.NOT_FOUND, "no such order: ")

    async def test_a_good_answer_is_kept_with_its_metadata(self, kind: str) -> None:
        async def script(peer: ScriptedPeer) -> None:
            while True:
                stream = await raw(peer).request()
                peer.h2.send_headers(stream, [*HEAD, ("x-head", " h")])
                peer.h2.send_data(stream, message(b"done"))
                peer.h2.send_headers(stream, [("grpc-status", "0"), ("x-end", "v ")], end_stream=True)
                peer.flush()

        async with scripted_grpc(script) as server, connected(kind, server.target) as client:
            for _ in range(2):
                reply = await client.request("test.Echo.Echo", b"")
                assert reply.value == b"done"
                assert (reply.metadata["x-head"], reply.metadata["x-end"]) == (" h", "v ")

    async def test_an_answer_of_something_else_stays_strict(self, kind: str) -> None:
        async def script(peer: ScriptedPeer) -> None:
            stream = await raw(peer).request()
            head = [(":status", "200"), ("content-type", "text/plain"), ("grpc-status", "0"), ("x-end", "v ")]
            peer.h2.send_headers(stream, head, end_stream=True)
            peer.flush()
            await peer.request()

        async with scripted_grpc(script) as server:
            async with connected(kind, server.target, fail_mode="failfast") as client:
                with pytest.raises(fastrpc.FastRPCError, match="white space"):
                    await client.call("test.Echo.Echo", b"")

    async def test_metadata_is_sent_without_them(self, kind: str) -> None:
        async def script(peer: ScriptedPeer) -> None:
            peer.answer(await peer.request())

        async with scripted_grpc(script) as server, connected(kind, server.target) as client:
            view = client.with_options(metadata={"x-said": " v\t", "user-agent": "shop "})
            assert await view.call("test.Echo.Echo", b"") == b"done"
            assert (server.heads[0]["x-said"], server.heads[0]["user-agent"]) == ("v", "shop")


class TestErrors:
    async def test_only_the_entry_that_cannot_travel_is_left_out(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        async with served_grpc(Show()) as link:
            answer = await link.call("/test.v1.Show/fail", b"")
            assert answer.status == Status.NOT_FOUND
            assert answer.text == "no such order:%20"
            assert {key: value for key, value in answer.end.items() if key.startswith("x-")} == {
                "x-good": "1",
                "x-said": "v",
                "x-bin": "/w",
            }
        [record] = [record for record in caplog.records if "is dropped" in record.message]
        assert "x-bad" in record.message

    async def test_an_answer_has_its_metadata_without_blanks(self) -> None:
        async with served_grpc(Show()) as link:
            assert (await link.call(SHOW, b"a")).end["x-said"] == "v"

    async def test_other_protocols_send_the_complete_text(self) -> None:
        async with either("async", Show()) as client:
            with pytest.raises(CallError) as caught:
                await client.call(Show.fail, b"")
            assert caught.value.message == "no such order: "

    async def test_a_servicer_aborts_with_the_entries_that_can_travel(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        trailing = (("x-good", "1"), ("x-bad", "caf\u00e9"), ("x-worse", b"\xff"), ("x-said", " v "))

        async def get(request: Any, context: Any) -> Any:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such order: ", trailing)

        server = aio.server()
        generated().pb2_grpc.add_OrdersServicer_to_server(servicer_with(Get=get), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            with pytest.raises(grpc.RpcError) as caught:
                await generated().pb2_grpc.OrdersStub(channel).Get(item())
        await server.stop(None)
        assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "no such order: ")
        assert tuple(caught.value.trailing_metadata()) == (("x-good", "1"), ("x-said", "v"))
        assert all(any(key in record.message for record in caplog.records) for key in ("x-bad", "x-worse"))
