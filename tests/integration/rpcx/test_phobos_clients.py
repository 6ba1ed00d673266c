"""Recorded clients of Phobos call our server: its answers equal the answers of Phobos in all that concerns them."""

from contextlib import AsyncExitStack

import pytest

from fastrpc import Server, ServerConfig
from fastrpc.auth import Identity, StaticTokens
from tests.support.phobos_arith import WITH_TOKEN, Arith, Functions
from tests.support.rpcx_talk import rpcx_talk
from tests.support.rpcx_vectors import PHOBOS_NOT_FRAMES, assert_alike, recorded_beside, recordings
from tests.support.rpcx_wire import Frame

pytestmark = pytest.mark.one_loop

PHOBOS = ServerConfig(protocols=("phobos",))

#: Actions of a server of Phobos that ours does not do, with the reason.
EXCLUDED = {
    **dict.fromkeys(
        ("gzip_request", "gzip_json", "gzip_threshold_1025", "gzip_error_then_ok", "compressed"),
        "our server inflates requests, and does not fail them",
    ),
    **dict.fromkeys(
        ("gzip_raw_echo", "gzip_raw_cut"), "our server inflates requests, and answers plain without the flag"
    ),
    "compressed_flag_only": "a payload marked as gzip that is plain is a fault of the peer",
    "unknown_compressor": "a compressor that is not known is a violation",
    **dict.fromkeys(
        ("heartbeat_auth", "heartbeat_auth_breaker"), "our server answers heartbeats without a token"
    ),
    "msgpack_array_args": "a struct by position is a form that Go clients do not send",
    "json_lower_case": "names are case exact",
    "payload_length_ignored": "a payload has the length that it announces",
    "metadata_many": "an entry without a key is left out",
    "status_kept": "an error has status 1, which clients of Phobos take for one; 3 counts as a success",
    **dict.fromkeys(("push", "push_unheard"), "a push without a name is none of ours"),
}

#: Connections whose answers were made by hand: test_phobos_servers.py replays them.
ANSWERED_BY_HAND = {name for name in recordings("phobos") if name.startswith("answer_")}

#: Errors whose text is defined: the handler chose it, or Phobos itself. Other texts are from Go's libraries.
OWN_TEXTS = {
    "error_boom",
    "error_json",
    "error_with_metadata",
    "error_unknown_service",
    "error_unknown_method",
    "error_case",
    "function_error",
    "function_by_service",
    "breaker",
    "empty_names",
    "unknown_codec",
    "thrift_codec",
}

REPLAYED = sorted(recordings("phobos").keys() - EXCLUDED - ANSWERED_BY_HAND)

#: The frames that the gateway of Phobos sent to its server; one is excluded like frames of other clients.
OF_GATEWAY = {
    one.name: one
    for one in recorded_beside("gateway_", "phobos")
    if one.name.endswith("_frames") and one.name != "gateway_gzip_frames"
}


@pytest.mark.parametrize("name", [*REPLAYED, *OF_GATEWAY])
async def test_a_recorded_client_gets_the_recorded_answers(name: str) -> None:
    recording = {**recordings("phobos"), **OF_GATEWAY}[name]
    tokens = StaticTokens({"secret": Identity("gopher")}) if name in WITH_TOKEN else None
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            Server(Arith(), Functions(), config=PHOBOS, authenticate=tokens)
        )
        await server.listen("tcp://127.0.0.1:0")
        talk = await stack.enter_async_context(rpcx_talk(server, magic=0x42))
        talk.send(recording.from_client)
        heard = [await talk.hear() for _ in recording.answers]
        # If two begin at once either may come first.
        for answer, expected in zip(in_order(heard), in_order(recording.answers), strict=True):
            assert answer.magic == expected.magic
            assert_alike(answer, expected, protocol="phobos", has_own_text=name in OWN_TEXTS)
        if recording.closed_by_server:
            assert await talk.is_closed()


def in_order(frames: list[Frame]) -> list[Frame]:
    return sorted(frames, key=lambda frame: (frame.response, frame.sequence, frame.payload))


def test_every_recording_is_replayed_or_excluded_with_its_reason() -> None:
    assert recordings("phobos").keys() >= EXCLUDED.keys()
    assert len(REPLAYED) + len(ANSWERED_BY_HAND) + len(EXCLUDED) == len(recordings("phobos"))
    beside = [recorded_beside(beginning, "phobos") for beginning in PHOBOS_NOT_FRAMES]
    assert sum(map(len, beside)) + len(recordings("phobos")) == 129
