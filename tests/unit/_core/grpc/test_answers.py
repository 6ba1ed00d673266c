"""Heads and trailers of answers: status, text, details, whether the handler ran, the pause before a retry."""

from typing import Any

import pytest
from h2.errors import ErrorCodes

from fastrpc import CallError, DeadlineExceededError, OverloadedError, Status, UnavailableError
from fastrpc._core.grpc.fields import binary_field
from fastrpc.rpc.protobuf.status_details import encode_details
from tests.support.grpc_link import HEAD, OK, GrpcLink, Head, Reset, error_of, message


class TestAnswers:
    @pytest.mark.parametrize("size", [1, 2, 3, 7, 1_000])
    async def test_any_cut_of_the_bytes_gives_the_same_answer(self, size: int) -> None:
        link = GrpcLink()
        call = await link.call()
        await link.heard(Head)
        link.server.send_headers(1, HEAD)
        link.server.send_data(1, message(b"hello")[:3])
        link.server.send_data(1, message(b"hello")[3:])
        link.server.send_headers(1, OK, end_stream=True)
        data = link.server.data_to_send()
        for at in range(0, len(data), size):
            link.receive(data[at : at + size])
        assert await call == b"hello"

    async def test_a_status_alone_is_an_error(self) -> None:
        link = GrpcLink()
        call = await link.call()
        await link.heard(Head)
        link.refuse(1, ("grpc-status", "5"), ("grpc-message", "no%20such 100%"), ("x-end", "1"))
        error = await error_of(call)
        assert (error.status, error.message, error.processed) == (Status.NOT_FOUND, "no such 100%", "yes")
        assert error._was_received

    @pytest.mark.parametrize("details", [{"missing": 3, "items": ["tea"]}, "text", [1, 2]])
    async def test_details_come_as_they_were(self, details: Any) -> None:
        link = GrpcLink()
        call = await link.call()
        await link.heard(Head)
        raw = encode_details(9, "x", details)
        assert raw is not None
        link.refuse(1, ("grpc-status", "9"), ("grpc-status-details-bin", binary_field(raw).decode()))
        error = await error_of(call)
        assert (error.status, error.details) == (Status.FAILED_PRECONDITION, details)

    @pytest.mark.parametrize("broken", ["A", "////", ""])
    async def test_broken_details_are_left_out(self, broken: str) -> None:
        link = GrpcLink()
        call = await link.call()
        await link.heard(Head)
        link.refuse(1, ("grpc-status", "9"), ("grpc-status-details-bin", broken))
        assert (await error_of(call)).details is None

    @pytest.mark.parametrize(
        ("trailers", "kind", "status", "processed", "retryable"),
        [
            ({"grpc-status": "14"}, UnavailableError, Status.UNAVAILABLE, "unknown", False),
            ({"grpc-status": "14", "frpc-outcome": "1"}, UnavailableError, Status.UNAVAILABLE, "no", True),
            ({"grpc-status": "8"}, CallError, Status.RESOURCE_EXHAUSTED, "unknown", False),
            (
                {"grpc-status": "8", "frpc-outcome": "1"},
                OverloadedError,
                Status.RESOURCE_EXHAUSTED,
                "no",
                True,
            ),
            ({"grpc-status": "3"}, CallError, Status.INVALID_ARGUMENT, "yes", False),
            ({"grpc-status": "4"}, DeadlineExceededError, Status.DEADLINE_EXCEEDED, "unknown", False),
            ({"grpc-status": "99"}, CallError, Status.UNKNOWN, "yes", False),
            ({"grpc-status": "16", "frpc-outcome": "1"}, CallError, Status.UNAUTHENTICATED, "no", False),
        ],
    )
    async def test_a_status_says_whether_the_handler_ran(
        self, trailers: dict[str, str], kind: type[Exception], status: Status, processed: str, retryable: bool
    ) -> None:
        link = GrpcLink()
        call = await link.call()
        await link.heard(Head)
        link.refuse(1, *trailers.items())
        error = await error_of(call)
        assert type(error) is kind
        assert (error.status, error.processed, error.retryable) == (status, processed, retryable)

    async def test_an_idempotent_call_may_be_repeated_after_unavailable(self) -> None:
        link = GrpcLink()
        call = await link.call(b"", link.view(idempotent=True))
        await link.heard(Head)
        link.refuse(1, ("grpc-status", "14"))
        assert (await error_of(call)).retryable

    @pytest.mark.parametrize(
        ("pause", "retry_after", "retryable"),
        [("250", 0.25, True), ("0", 0.001, True), ("-1", None, False), ("soon", None, False)],
    )
    async def test_a_server_asks_for_a_pause(
        self, pause: str, retry_after: float | None, retryable: bool
    ) -> None:
        link = GrpcLink()
        call = await link.call()
        await link.heard(Head)
        link.refuse(1, ("grpc-status", "14"), ("frpc-outcome", "1"), ("grpc-retry-pushback-ms", pause))
        error = await error_of(call)
        assert (error.retry_after, error.retryable) == (retry_after, retryable)

    @pytest.mark.parametrize(
        ("http", "status"),
        [
            ("400", Status.INTERNAL),
            ("401", Status.UNAUTHENTICATED),
            ("403", Status.PERMISSION_DENIED),
            ("404", Status.UNIMPLEMENTED),
            ("503", Status.UNAVAILABLE),
            ("302", Status.UNKNOWN),
        ],
    )
    async def test_an_answer_of_http_alone_is_an_error_with_its_text(self, http: str, status: Status) -> None:
        link = GrpcLink()
        call = await link.call()
        await link.heard(Head)
        link.server.send_headers(1, [(":status", http), ("content-type", "text/plain")])
        link.server.send_data(1, b"go away\n", end_stream=True)
        link.send_out()
        error = await error_of(call)
        assert error.status == status
        assert error.processed == "unknown"
        assert error.message == f"the server answered by HTTP alone, with status {http}: go away"

    @pytest.mark.parametrize("kind", ["text/html", "application/grpcx", "application/json"])
    async def test_content_of_another_type_is_no_answer(self, kind: str) -> None:
        link = GrpcLink()
        call = await link.call()
        await link.heard(Head)
        link.server.send_headers(1, [(":status", "200"), ("content-type", kind)])
        link.server.send_data(1, b"x" * 2_000)
        link.send_out()
        error = await error_of(call)
        assert error.status == Status.UNKNOWN
        assert "HTTP alone" in error.message
        [reset] = await link.heard(Reset)
        assert reset.error_code == ErrorCodes.CANCEL

    @pytest.mark.parametrize(
        "kind", ["application/grpc+proto", "application/grpc;x=1", "application/grpc+json"]
    )
    async def test_each_content_type_of_grpc_is_one(self, kind: str) -> None:
        link = GrpcLink()
        call = await link.call()
        await link.heard(Head)
        link.answer(1, message(b"y"), head=[(":status", "200"), ("content-type", kind)])
        assert await call == b"y"

    async def test_an_answer_without_a_status_is_unknown(self) -> None:
        link = GrpcLink()
        first, second = await link.call(), await link.call()
        await link.heard(Head)
        link.answer(1, message(b"y"), trailers=[("x-end", "1")])
        link.server.send_headers(3, HEAD)
        link.server.send_data(3, message(b"y"), end_stream=True)
        link.send_out()
        for call in (first, second):
            error = await error_of(call)
            assert (error.status, error.message) == (
                Status.UNKNOWN,
                "the server ended the answer without a status",
            )
