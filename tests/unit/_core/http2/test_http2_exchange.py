"""A request on a stream of HTTP/2, between a client by `h2` and an application that a test drives."""

import email.utils
from typing import Any

import h2.events
import pytest
from h2.errors import ErrorCodes

from fastrpc import Keepalive, Timeouts
from fastrpc._core.server.memory_budget import bytes_held
from tests.support.driven_pages import held_upload, served_pages
from tests.support.grpc_peer import Answer

PATIENT = Keepalive(interval=None, timeout=10)
ENDLESS = Timeouts(handshake=None, idle=None)
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, CANCEL = (
    ErrorCodes.NO_ERROR,
    ErrorCodes.PROTOCOL_ERROR,
    ErrorCodes.INTERNAL_ERROR,
    ErrorCodes.CANCEL,
)


class TestAnswers:
    async def test_a_whole_answer_has_its_fields_a_date_and_a_length(self) -> None:
        async with served_pages() as link:
            stream = link.ask("GET", "/page?a=b")
            await link.talk()
            assert link.page.events == [("head", "GET", "/page?a=b"), ("request", b"")]
            link.page.answer(200, b"Content-Type: text/plain\r\nX-Some: a: b\r\n", b"hello")
            answer = await link.end(stream)
            assert email.utils.parsedate_to_datetime(answer.head.pop("date")).utcoffset() is not None
            assert answer.head == {
                ":status": "200",
                "content-type": "text/plain",
                "x-some": "a: b",
                "content-length": "5",
            }
            assert (answer.data, answer.is_ended, answer.reset) == (b"hello", True, None)
            await link.talk()
            assert link.told[1:] == [("over",)]

    async def test_values_lose_the_blanks_at_their_edges(self) -> None:
        async with served_pages() as link:
            stream = link.ask("GET", "/page")
            await link.talk()
            link.page.answer(200, b"X-Some:  a b\t \r\n")
            assert (await link.end(stream)).head["x-some"] == "a b"

    async def test_a_head_is_counted_until_its_request_is_answered(self) -> None:
        async with served_pages() as link:
            before = link.engine.connection.held_bytes
            stream = link.ask("GET", "/page", [(f"x-{number}", "a" * 100) for number in range(50)])
            await link.talk()
            assert link.engine.connection.held_bytes > before + 5_000
            link.page.answer(200)
            await link.end(stream)
            assert link.engine.connection.held_bytes < before + 5_000

    async def test_an_answer_to_head_has_a_length_and_no_body(self) -> None:
        async with served_pages() as link:
            stream = link.ask("HEAD", "/page")
            await link.talk()
            link.page.answer(200, b"", b"hello")
            answer = await link.end(stream)
            assert (answer.head["content-length"], answer.data, answer.is_ended) == ("5", b"", True)

    @pytest.mark.parametrize("status", [204, 304])
    async def test_a_status_without_a_body_has_no_length(self, status: int) -> None:
        async with served_pages() as link:
            stream = link.ask("GET", "/page")
            await link.talk()
            link.page.answer(status)
            answer = await link.end(stream)
            assert (answer.head[":status"], "content-length" in answer.head) == (str(status), False)

    async def test_an_answer_in_parts_has_no_length(self) -> None:
        async with served_pages() as link:
            stream = link.ask("GET", "/page")
            await link.talk()
            link.page.begin(200, b"Content-Type: text/plain\r\n")
            link.page.part(b"one ")
            link.page.part(b"+two+", 1, 3)
            link.page.part(b"")
            await link.talk()
            assert (link.answers[stream].data, link.answers[stream].is_over) == (b"one two", False)
            link.page.end()
            answer = await link.end(stream)
            assert (answer.is_ended, "content-length" in answer.head) == (True, False)

    async def test_an_answer_in_parts_may_state_its_length(self) -> None:
        async with served_pages() as link:
            stream = link.ask("GET", "/page")
            await link.talk()
            link.page.begin(200, b"", 5)
            link.page.part(b"hello")
            link.page.end()
            answer = await link.end(stream)
            assert (answer.head["content-length"], answer.data) == ("5", b"hello")

    async def test_a_response_that_is_cut_is_reset(self) -> None:
        async with served_pages() as link:
            stream = link.ask("GET", "/page")
            await link.talk()
            link.page.begin(200)
            link.page.part(b"one")
            link.page.cut()
            answer = await link.end(stream)
            assert (answer.is_ended, answer.reset) == (False, INTERNAL_ERROR)
            assert not link.page.is_open

    async def test_a_failed_application_answers_500(self) -> None:
        def fail(_: object) -> None:
            raise KeyError("planted")

        async with served_pages(pages={"on_request": fail}) as link:
            answer = await link.end(link.ask("GET", "/page"))
            assert answer.head[":status"] == "500"

    async def test_an_answer_comes_once(self) -> None:
        async with served_pages() as link:
            stream = link.ask("POST", "/page", body=b"")
            await link.talk()
            link.page.begin(200)
            with pytest.raises(RuntimeError, match="there is no request to answer"):
                link.page.answer(200)
            link.page.end()
            # A later one is ignored.
            link.page.part(b"late")
            assert (await link.end(stream)).is_ended


class TestWholeBodies:
    async def test_a_body_larger_than_the_window_comes_whole(self) -> None:
        body = bytes(range(256)) * 2_000
        async with served_pages() as link:
            stream = link.upload("/upload", [("content-length", str(len(body)))])
            await link.pour(stream, body)
            await link.talk()
            assert link.told[-1] == ("request", body)
            sizes = [size for kind, size in link.told[:-1] if kind == "grew"]
            assert sizes == sorted(sizes)
            link.page.answer(200)
            assert (await link.end(stream)).is_ended

    async def test_requests_of_one_read_have_each_its_body_with_its_head_or_later(self) -> None:
        async with served_pages() as link:
            streams = [link.upload(f"/{number}") for number in range(3)]
            link.send(streams[0], b"zero", ends=True)
            link.send(streams[1], b"o")
            streams.append(link.ask("POST", "/3", body=b"three"))
            await link.talk()
            bodies = [request.events[1:] for request in link.pages.requests]
            assert bodies == [[("request", b"zero")], [("grew", 1)], [], [("request", b"three")]]
            for stream in streams[1:3]:
                link.send(stream, b"ne", ends=True)
            await link.talk()
            assert [request.events[-1] for request in link.pages.requests[1:3]] == [
                ("request", b"one"),
                ("request", b"ne"),
            ]
            for request in link.pages.requests:
                request.answer(200)
            assert [(await link.end(stream)).is_ended for stream in streams] == [True] * 4

    async def test_a_request_that_is_reset_within_its_read_waits_for_nothing(self) -> None:
        async with served_pages() as link:
            stream = link.upload("/upload")
            link.h2.reset_stream(stream)
            await link.talk()
            assert link.told == [("dropped",), ("over",)]
            assert link.engine.connection.held_bytes < 5_000

    async def test_an_answer_before_the_part_of_its_read_ends_the_stream(self) -> None:
        async with served_pages(pages={"takes_parts": True}) as link:
            link.pages.on_request = lambda request: request.answer(200, b"", b"early")
            stream = link.ask("POST", "/upload", body=b"late")
            answer = await link.end(stream)
            assert (answer.data, answer.is_ended, answer.reset) == (b"early", True, None)
            assert link.told == [("request", b""), ("over",)]

    async def test_a_body_may_end_with_trailers(self) -> None:
        async with served_pages() as link:
            stream = link.upload("/upload")
            link.send(stream, b"hello")
            link.h2.send_headers(stream, [("x-sum", "1")], end_stream=True)
            await link.talk()
            assert link.told[-1] == ("request", b"hello")

    @pytest.mark.parametrize("is_stated", [True, False])
    async def test_a_body_over_its_limit_is_refused_and_its_remainder_dropped(self, is_stated: bool) -> None:
        async with served_pages(pages={"most": 1_000}) as link:
            stream = link.upload("/upload", [("content-length", "5000")] if is_stated else [])
            link.send(stream, b"a" * 2_000)
            answer = await link.end(stream)
            assert (answer.head[":status"], answer.data) == ("413", b"the body has more than 1000 bytes\n")
            assert "connection" not in answer.head
            link.send(stream, b"a" * 3_000, ends=True)
            await link.talk()
            assert link.answers[stream].reset is None
            assert [event for event in link.told if event[0] != "grew"] == [("dropped",), ("over",)]

    async def test_a_body_that_differs_from_its_length_is_a_violation(self) -> None:
        async with served_pages() as link:
            stream = link.upload("/upload", [("content-length", "5")])
            link.send(stream, b"hello!")
            answer = await link.end(stream)
            assert answer.reset == PROTOCOL_ERROR
            await link.talk()
            assert link.told == [("dropped",), ("over",)]

    async def test_a_late_body_is_refused(self) -> None:
        async with served_pages(keepalive=PATIENT, timeouts=ENDLESS) as link:
            stream = link.upload("/upload")
            link.send(stream, b"hel")
            await link.talk()
            link.look(5)
            assert ("dropped",) not in link.told
            link.look(12)
            answer = await link.end(stream)
            assert answer.head[":status"] == "408"
            assert ("dropped",) in link.told

    async def test_an_early_answer_drops_the_unread_part_of_the_body(self) -> None:
        async with served_pages(pages={"decides": True}) as link:
            stream = link.upload("/upload")
            link.send(stream, b"a" * 1_000)
            await link.talk()
            link.page.skip()
            link.page.answer(401, b"", b"no\n")
            answer = await link.end(stream)
            assert (answer.head[":status"], answer.data) == ("401", b"no\n")
            link.send(stream, b"a" * 1_000)
            await link.talk()
            assert link.told == [("request", b"")]
            link.send(stream, b"a", ends=True)
            await link.talk()
            assert link.answers[stream].reset is None
            assert link.told == [("request", b""), ("over",)]

    async def test_a_long_remainder_after_an_early_success_is_reset(self) -> None:
        async with served_pages(pages={"decides": True, "most": 30_000_000}) as link:
            stream = link.upload("/upload", [("content-length", "20000000")])
            await link.talk()
            link.page.skip()
            link.page.answer(200, b"", b"yes\n")
            assert (await link.end(stream)).data == b"yes\n"
            await link.talk()
            assert link.answers[stream].reset == NO_ERROR
            assert link.told == [("request", b""), ("over",)]

    async def test_a_long_remainder_after_a_refusal_is_reset_after_the_linger_time(self) -> None:
        async with served_pages(pages={"most": 1_000}) as link:
            stream = link.upload("/upload", [("content-length", "20000000")])
            assert (await link.end(stream)).head[":status"] == "413"
            await link.talk()
            assert link.answers[stream].reset is None
            link.look(2)
            await link.talk()
            assert link.answers[stream].reset == NO_ERROR
            assert link.told == [("dropped",), ("over",)]


class TestBodiesInParts:
    async def test_parts_come_as_they_arrive(self) -> None:
        async with served_pages(pages={"takes_parts": True}) as link:
            stream = link.upload("/upload")
            link.send(stream, b"one")
            await link.talk()
            link.send(stream, b"two", ends=True)
            await link.talk()
            assert link.told == [("request", b""), ("part", b"one", False), ("part", b"two", True)]
            link.page.answer(200)
            assert (await link.end(stream)).is_ended

    async def test_a_request_without_a_body_has_an_empty_last_part(self) -> None:
        async with served_pages(pages={"takes_parts": True}) as link:
            link.ask("POST", "/upload")
            await link.talk()
            assert link.told == [("request", b""), ("part", b"", True)]

    async def test_a_held_body_fills_its_window_alone(self) -> None:
        async with served_pages(pages={"takes_parts": True}) as link:
            stream = await held_upload(link, 0)
            window = link.h2.local_flow_control_window(stream)
            before = bytes_held()
            link.send(stream, b"b" * window)
            await link.talk()
            assert link.h2.local_flow_control_window(stream) == 0
            assert bytes_held() - before >= window
            # Other requests continue meanwhile.
            link.ask("POST", "/other", body=b"c" * 30_000)
            await link.talk()
            assert link.told[-1][:2] == ("part", b"c" * 30_000)
            first = link.pages.requests[0]
            first.hold(False)
            await link.talk()
            assert b"".join(event[1] for event in first.events if event[0] == "part") == b"a" + b"b" * window
            assert link.h2.local_flow_control_window(stream) > 0
            assert bytes_held() - before < window

    async def test_the_end_of_a_held_body_waits_with_it(self) -> None:
        async with served_pages(pages={"takes_parts": True}) as link:
            stream = await held_upload(link, 0)
            link.send(stream, b"", ends=True)
            await link.talk()
            assert link.told[-1] == ("part", b"a", False)
            link.page.hold(False)
            await link.talk()
            assert link.told[-1] == ("part", b"", True)

    async def test_a_body_held_for_long_is_not_late(self) -> None:
        async with served_pages(pages={"takes_parts": True}, keepalive=PATIENT, timeouts=ENDLESS) as link:
            await held_upload(link)
            link.look(60)
            assert link.page.is_open

    async def test_bytes_wait_until_their_sender_is_known(self) -> None:
        async with served_pages(pages={"takes_parts": True, "decides": True}) as link:
            stream = link.upload("/upload")
            link.send(stream, b"one")
            await link.talk()
            assert link.told == []
            link.page.admit()
            link.send(stream, b"two", ends=True)
            await link.talk()
            assert link.told == [("request", b""), ("part", b"one", False), ("part", b"two", True)]

    async def test_a_whole_body_waits_until_its_sender_is_known(self) -> None:
        async with served_pages(pages={"decides": True}) as link:
            link.ask("POST", "/upload", body=b"hello")
            await link.talk()
            assert link.told == []
            link.page.admit()
            assert link.told == [("request", b"hello")]


class TestExpectations:
    async def test_a_client_that_waits_to_be_asked_is_asked(self) -> None:
        async with served_pages() as link:
            stream = link.upload("/upload", [("expect", "100-continue")])
            await link.talk()
            [asked] = [e for e in link.events if isinstance(e, h2.events.InformationalResponseReceived)]
            fields: Any = asked.headers
            assert dict(fields) == {":status": "100"}
            link.send(stream, b"hello", ends=True)
            await link.talk()
            assert link.told[-1] == ("request", b"hello")
            link.page.answer(200)
            assert (await link.end(stream)).head[":status"] == "200"

    async def test_an_application_may_ask_later(self) -> None:
        async with served_pages(pages={"takes_parts": True, "asks_later": True}) as link:
            link.upload("/upload", [("expect", "100-continue")])
            await link.talk()
            assert not any(isinstance(e, h2.events.InformationalResponseReceived) for e in link.events)
            link.page.ask()
            await link.talk()
            assert any(isinstance(e, h2.events.InformationalResponseReceived) for e in link.events)

    @pytest.mark.parametrize("was_asked", [True, False])
    async def test_the_remainder_is_dropped_if_the_client_was_told_to_continue(self, was_asked: bool) -> None:
        async with served_pages(pages={"takes_parts": True, "asks_later": True}) as link:
            stream = link.upload("/upload", [("expect", "100-continue")])
            await link.talk()
            if was_asked:
                link.page.ask()
            link.page.answer(404)
            assert (await link.end(stream)).head[":status"] == "404"
            await link.talk()
            # A client that was not asked sends nothing.
            assert link.answers[stream].reset == (None if was_asked else NO_ERROR)

    async def test_another_expectation_is_refused(self) -> None:
        async with served_pages() as link:
            answer = await link.end(link.ask("GET", "/page", [("expect", "tea")]))
            assert answer.head[":status"] == "417"


class TestFaultyHeads:
    @pytest.mark.parametrize(
        ("path", "authority", "fields", "status"),
        [
            ("/page", "a/b", [], "400"),
            ("/" + "a" * 9_000, "localhost", [], "414"),
            ("/page", "localhost", [("x-a", "b" * 60_000)], "431"),
            ("/page", "localhost", [(f"x-{i}", "") for i in range(101)], "431"),
        ],
        ids=["host", "target", "bytes", "fields"],
    )
    async def test_a_faulty_head_is_refused(
        self, path: str, authority: str, fields: list[tuple[str, str]], status: str
    ) -> None:
        async with served_pages() as link:
            answer = await link.end(link.ask("GET", path, fields, authority=authority))
            assert answer.head[":status"] == status
            await link.talk()
            assert link.page.events == [("dropped",), ("over",)]

    async def test_a_tunnel_to_another_server_is_refused(self) -> None:
        async with served_pages() as link:
            stream = link.h2.get_next_available_stream_id()
            link.answers[stream] = Answer()
            link.h2.send_headers(stream, [(":method", "CONNECT"), (":authority", "other:443")])
            assert (await link.end(stream)).head[":status"] == "400"


class TestOutputThatWaits:
    async def test_a_slow_reader_stalls_its_stream_alone(self) -> None:
        async with served_pages(takes=False) as link:
            slow = link.ask("GET", "/slow")
            await link.talk()
            page = link.page
            page.begin(200)
            page.part(b"a" * 200_000)
            await link.talk()
            left = 200_000 - 65_535
            assert (page.unsent, page.is_full) == (left, True)
            page.await_room()
            link.h2.increment_flow_control_window(100)
            quick = link.ask("GET", "/quick")
            await link.talk()
            link.page.answer(200, b"", b"quick")
            assert (await link.end(quick)).data == b"quick"
            assert ("room",) not in page.events
            link.h2.increment_flow_control_window(left)
            link.h2.increment_flow_control_window(left, slow)
            await link.talk()
            assert (page.unsent, page.is_full, page.events[-1]) == (0, False, ("room",))
            assert len(link.answers[slow].data) == 200_000

    async def test_waiting_output_is_weighed(self) -> None:
        async with served_pages(takes=False) as link:
            link.ask("GET", "/slow")
            await link.talk()
            before = bytes_held()
            link.page.answer(200, b"", b"a" * 200_000)
            assert bytes_held() - before >= 200_000 - 65_535

    async def test_a_reader_that_keeps_its_window_closed_loses_its_stream(self) -> None:
        async with served_pages(takes=False, keepalive=PATIENT, timeouts=ENDLESS) as link:
            stream = link.ask("GET", "/slow")
            await link.talk()
            page = link.page
            page.begin(200)
            page.part(b"a" * 200_000)
            link.h2.increment_flow_control_window(1_000_000)
            await link.talk()
            link.look(5)
            link.h2.increment_flow_control_window(1_000, stream)
            await link.talk()
            link.look(12)
            await link.talk()
            assert link.answers[stream].reset is None
            link.look(30)
            await link.talk()
            assert link.answers[stream].reset == CANCEL
            assert link.told[-2:] == [("dropped",), ("over",)]
            assert not link.is_over
