"""Heads of requests from header blocks, and fields of answers from lines."""

import email.utils

import pytest

from tests.support.driven_pages import served_pages


async def test_the_head_has_method_target_host_and_joined_cookies() -> None:
    async with served_pages() as link:
        link.ask("GET", "/page", [("cookie", "a=1"), ("x-one", "1"), ("cookie", "b=2")], authority="shop:80")
        await link.talk()
        head = link.page.head
        assert head is not None
        assert (head.version, head.method, head.path, head.host) == ("2", "GET", "/page", "shop:80")
        assert head.values("cookie") == ["a=1; b=2"]
        assert (head.values("x-one"), head.content_length) == (["1"], 0)


async def test_fields_of_a_connection_of_http_1_are_left_out() -> None:
    async with served_pages() as link:
        stream = link.ask("GET", "/page")
        await link.talk()
        link.page.answer(426, b"Connection: Upgrade\r\nUpgrade: websocket\r\nAllow: GET\r\n", b"")
        answer = await link.end(stream)
        assert set(answer.head) == {":status", "date", "allow", "content-length"}


async def test_equal_lines_give_equal_fields_any_number_of_times() -> None:
    # More than the templates that an encoder keeps, and each in full, from the table and from a template.
    lines = [b"Content-Type: text/%d\r\nSet-Cookie: a=%d\r\nX-One: a b\r\n" % (at, at) for at in range(12)]
    async with served_pages() as link:
        for _ in range(4):
            for number, line in enumerate(lines):
                stream = link.ask("GET", "/page")
                await link.talk()
                link.page.answer(200, line, b"hello")
                answer = await link.end(stream)
                assert email.utils.parsedate_to_datetime(answer.head.pop("date")).utcoffset() is not None
                assert answer.head == {
                    ":status": "200",
                    "content-type": f"text/{number}",
                    "set-cookie": f"a={number}",
                    "x-one": "a b",
                    "content-length": "5",
                }


@pytest.mark.parametrize("status", [200, 201, 206, 404, 500, 599])
async def test_every_status_has_the_same_lines(status: int) -> None:
    async with served_pages() as link:
        for _ in range(3):
            stream = link.ask("GET", "/page")
            await link.talk()
            link.page.answer(status, b"Content-Type: text/plain\r\n", b"")
            head = (await link.end(stream)).head
            assert (head[":status"], head["content-type"]) == (str(status), "text/plain")


@pytest.mark.parametrize("size", [0, 9, 10, 127, 4_294_967_296, 10**12, 2**63 - 1])
async def test_a_response_states_its_size_in_digits(size: int) -> None:
    async with served_pages() as link:
        stream = link.ask("HEAD", "/page")
        await link.talk()
        link.page.begin(200, b"", size)
        link.page.end()
        assert (await link.end(stream)).head["content-length"] == str(size)


async def test_equal_blocks_give_equal_heads_and_each_request_its_body() -> None:
    async with served_pages() as link:
        heads = []
        for body in (b"one", None, b"two", b"", None, b"three"):
            stream = link.ask("POST", "/page", [("x-one", "1")], body=body)
            await link.talk()
            head = link.page.head
            assert head is not None
            assert head.content_length == (0 if body is None else -1)
            heads.append((head.method, head.path, head.host, head.fields))
            link.page.answer(200, b"", body or b"")
            assert (await link.end(stream)).data == (body or b"")
        assert heads == [heads[0]] * 6


async def test_heads_of_known_blocks_are_counted_and_few() -> None:
    fields = [(f"x-{number}", "a" * 20) for number in range(20)]
    async with served_pages() as link:
        before = link.engine.connection.held_bytes
        counts = []
        for number in range(120):
            stream = link.ask("GET", f"/{number // 3}", fields)
            await link.talk()
            link.page.answer(200)
            await link.end(stream)
            counts.append(link.engine.connection.held_bytes - before)
        # The first request fills the table, the second is all indexes and known, the third has the head of the second.
        known = counts[1] - counts[0]
        assert known > 20 * 128
        assert counts[2] == counts[1]
        assert max(counts) <= 4_096 + 8 * known + 1_000
