"""Bytes of requests that wait, and are handled in a separate read."""

from tests.support.driven_pages import held_upload, served_pages


async def test_a_released_body_continues_in_its_own_turn() -> None:
    async with served_pages(pages={"takes_parts": True}) as link:
        await held_upload(link)
        link.page.hold(False)
        assert link.told[-1] == ("part", b"a", False)
        await link.talk()
        assert link.told[-1] == ("part", b"b" * 100, False)


async def test_a_part_may_hold_the_next_one() -> None:
    async with served_pages(pages={"takes_parts": True}) as link:
        await held_upload(link, 60_000)
        page = link.page
        page.on_part = lambda: page.hold(True)
        stream = link.h2.highest_outbound_stream_id
        link.send(stream, b"c" * 5_000)
        await link.talk()
        page.hold(False)
        await link.talk()
        assert [len(event[1]) for event in link.told if event[0] == "part"] == [1, 65_000]


async def test_bytes_of_several_requests_continue_in_one_read() -> None:
    async with served_pages(pages={"takes_parts": True}) as link:
        pages = []
        for _ in range(3):
            await held_upload(link)
            pages.append(link.page)
        for page in pages:
            page.hold(False)
        await link.talk()
        assert [page.events[-1] for page in pages] == [("part", b"b" * 100, False)] * 3
