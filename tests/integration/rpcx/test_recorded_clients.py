"""Recorded clients of Go call our server: its answers equal the answers of Go's server in all that rpcx defines."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from fastrpc import Server, ServerConfig
from fastrpc.auth import Identity, StaticTokens
from fastrpc.files.rpcx import RpcxFiles
from tests.support.peer_writing import write_to
from tests.support.rpcx_arith import WITH_TOKEN, Arith, Fn
from tests.support.rpcx_talk import rpcx_talk
from tests.support.rpcx_vectors import (
    NOT_FRAMES,
    Recorded,
    assert_alike,
    recorded,
    recorded_beside,
    recordings,
)
from tests.support.served import served

pytestmark = pytest.mark.one_loop

BOTH = ServerConfig(protocols=("native", "rpcx"))

#: Actions of Go's server that ours does not do, with the reason.
EXCLUDED = {
    "thrift_mul": "Thrift is not offered",
    "msgpack_array_args": "a struct by position is a form that Go clients do not send",
    "msgpack_str_as_bytes": "text is not bytes",
    "msgpack_trailing_bytes": "bytes behind a value are a fault of the peer",
    "json_lower_case": "names are case exact",
    "bad_path_length": "a frame whose parts run past it is a violation",
    "payload_length_ignored": "a payload has the length that it announces",
    "metadata_many": "an entry without a key is left out",
    "deadline_passed": "our server answers at the deadline",
    "push": "pushes have a test of their own",
    "stream": "the stream service is not offered",
}

#: Recordings of the file service, whose bytes follow on connections of their own.
FILES = {"file_upload", "file_download"}

#: Errors whose text is defined: the handler chose it, or rpcx itself. Other texts are from Go's libraries.
OWN_TEXTS = {"error_boom", "error_json", "error_function", "error_with_metadata"} | {
    "error_unknown_service",
    "error_unknown_method",
    "unknown_codec",
}

REPLAYED = sorted(recordings().keys() - EXCLUDED - FILES)


def serving(recording: Recorded) -> Server:
    if recording.name in WITH_TOKEN:
        return Server(Arith(), Fn(), config=BOTH, authenticate=StaticTokens({"secret": Identity("gopher")}))
    return Server(Arith(), Fn(), config=BOTH)


@pytest.mark.parametrize("name", REPLAYED)
async def test_a_recorded_client_gets_the_recorded_answers(name: str) -> None:
    recording = recordings()[name]
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(recording))
        await server.listen("tcp://127.0.0.1:0")
        talk = await stack.enter_async_context(rpcx_talk(server))
        talk.send(recording.from_client)
        expected = recording.answers
        answers = {}
        for _ in expected:
            frame = await talk.hear()
            answers[frame.sequence] = frame
        assert answers.keys() == {frame.sequence for frame in expected}
        for frame in expected:
            assert_alike(answers[frame.sequence], frame, has_own_text=name in OWN_TEXTS)
        if recording.closed_by_server:
            assert await talk.is_closed()


def test_every_recording_is_replayed_or_excluded_with_its_reason() -> None:
    assert recordings().keys() >= EXCLUDED.keys()
    assert len(REPLAYED) + len(FILES) + len(EXCLUDED) == len(recordings())
    beside = [recorded_beside(beginning) for beginning in NOT_FRAMES]
    assert sum(map(len, beside)) + len(recordings()) == 100


@pytest.mark.parametrize("name", sorted(FILES))
async def test_a_recorded_client_sends_its_file_and_gets_one(name: str, tmp_path: Path) -> None:
    recording, [data] = recorded(name), recorded_beside(f"{name}_data")
    (tmp_path / "down.txt").write_bytes(data.from_server)
    async with Server(RpcxFiles(tmp_path, writable=True), config=BOTH) as server:
        await server.listen("tcp://127.0.0.1:0")
        async with rpcx_talk(server) as talk:
            answer = (await talk.ask(recording.from_client)).value()
            [expected] = recording.answers
            told = expected.value()
            assert {key: type(answer[key]) for key in told} == {key: type(told[key]) for key in told}
            assert len(answer["Token"]) == len(told["Token"])
        host, _, port = answer["Addr"].rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        write_to(writer, data.from_client.replace(told["Token"], answer["Token"]))
        if name == "file_upload":
            writer.write_eof()
        async with asyncio.timeout(30):
            assert await reader.read() == data.from_server
        writer.close()
    if name == "file_upload":
        assert (tmp_path / "up.txt").read_bytes() == data.from_client[len(told["Token"]) :]


async def test_a_connection_of_both_protocols_reaches_the_same_handler() -> None:
    async with served(Arith(), scheme="tcp", config=BOTH) as target, rpcx_talk(target.server) as talk:
        answer = await talk.ask(recordings()["msgpack_mul"].from_client)
        assert answer.value() == {"C": 200}
