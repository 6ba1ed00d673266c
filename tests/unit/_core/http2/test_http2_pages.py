"""The requests of one connection of HTTP/2 that are pages: their ends, and calls next to them."""

from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from fastrpc import Limits
from tests.support.driven_pages import served_pages


class TestEnds:
    async def test_a_reset_drops_the_request(self) -> None:
        async with served_pages() as link:
            stream = link.ask("GET", "/page")
            await link.talk()
            link.reset(stream)
            await link.talk()
            assert link.told == [("request", b""), ("dropped",), ("over",)]
            assert not link.page.is_open

    async def test_a_lost_connection_drops_every_request(self) -> None:
        async with served_pages() as link:
            link.ask("GET", "/page")
            link.upload("/upload")
            await link.talk()
            link.lose()
            assert [page.events[-2:] for page in link.pages.requests] == [[("dropped",), ("over",)]] * 2

    async def test_a_connection_is_busy_while_a_request_is_open(self) -> None:
        async with served_pages() as link:
            stream = link.ask("GET", "/page")
            await link.talk()
            link.engine.begin_drain(1)
            await link.talk()
            assert not link.engine.has_drained
            link.page.answer(200)
            assert (await link.end(stream)).is_ended
            assert link.engine.has_drained

    async def test_incomplete_requests_are_refused_as_the_server_stops(self) -> None:
        async with served_pages() as link:
            stream = link.upload("/upload")
            link.send(stream, b"hel")
            await link.talk()
            link.engine.end_calls("the server stops")
            answer = await link.end(stream)
            assert (answer.head[":status"], answer.data) == ("503", b"the server stops\n")

    async def test_refused_requests_are_idle_work(self) -> None:
        async with served_pages(limits=Limits(concurrent_calls=100, streams=100)) as link:
            # Each is over when the next one comes.
            link.h2.remote_settings[SettingCodes.MAX_CONCURRENT_STREAMS] = 100_000
            link.h2.remote_settings.acknowledge()
            for _ in range(5_000):
                link.ask("GET", "/page", authority="a/b")
            await link.give(link.h2.data_to_send())
            link.hear(link.transport.written[link._read :])
            assert link.goaways[-1][1] == ErrorCodes.ENHANCE_YOUR_CALM


class TestBesideCalls:
    async def test_calls_and_pages_share_a_connection(self) -> None:
        async with served_pages() as link:
            page = link.ask("GET", "/page")
            call = link.request("/test.v1.Raw/echo", b"a")
            await link.talk()
            assert link.page.events[0] == ("head", "GET", "/page")
            link.page.answer(200, b"", b"page")
            assert (await link.end(call)).messages == [b"a"]
            assert (await link.end(page)).data == b"page"
            assert len(link.pages.requests) == 1

    async def test_a_post_of_another_type_is_a_page(self) -> None:
        async with served_pages() as link:
            link.ask("POST", "/test.v1.Raw/echo", [("content-type", "application/json")], body=b"{}")
            await link.talk()
            assert link.told == [("request", b"{}")]

    async def test_without_grpc_its_calls_are_pages(self) -> None:
        async with served_pages(serves_grpc=False) as link:
            link.request("/test.v1.Raw/echo", b"a")
            await link.talk()
            assert link.page.events[0] == ("head", "POST", "/test.v1.Raw/echo")
            assert link.engine.connection.protocol == "http"
