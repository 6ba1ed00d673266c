"""Heads of requests from header blocks, and fields of answers from lines."""

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
