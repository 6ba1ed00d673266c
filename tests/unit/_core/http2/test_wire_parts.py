"""A link's questions to a wire of HTTP/2: waiting messages, and the place of long ones."""

from tests.support.grpc_peer import message, served_grpc
from tests.support.raw_methods import Raw
from tests.support.waiting import eventually

ECHO, LARGE = "/test.v1.Raw/echo", "/test.v1.Raw/large"
#: The first windows of a connection and of a stream.
WINDOW = 65_535


async def test_messages_that_wait_for_a_window_are_output_of_the_link() -> None:
    async with served_grpc(Raw(), takes=False) as link:
        stream = link.request(LARGE, b"100000")
        await link.talk()
        stats = link.engine.stats()
        # With the prefix of the message.
        assert (stats["buffered"], stats["credit"]) == (100_005 - WINDOW, 0)
        link.h2.increment_flow_control_window(1_000_000)
        link.h2.increment_flow_control_window(1_000_000, stream)
        assert (await link.end(stream)).messages == [bytes(100_000)] * 8
        assert link.engine.stats()["buffered"] == 0


async def test_a_long_message_is_received_in_its_place() -> None:
    async with served_grpc(Raw()) as link:
        data = bytes(range(256)) * 4_000
        stream = link.open(ECHO)
        await link.pour(stream, message(data))
        assert (await link.end(stream)).messages == [data]


async def test_a_lost_connection_has_no_messages_that_wait() -> None:
    async with served_grpc(Raw(), takes=False) as link:
        link.request(LARGE, b"100000")
        await link.talk()
        served = link.engine.connection
        link.lose()
        assert (link.engine.leaving.ignores_input, link.engine.stats()["buffered"]) == (False, 0)
        await eventually(lambda: served.held_bytes == 0)
