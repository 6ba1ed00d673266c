"""Streams on the command line: messages as lines of standard input and output, interruptions, ends, rates."""

import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.program import Finished, Program

APP = '''
import asyncio
from collections.abc import AsyncIterator, Iterator

import fastrpc


@fastrpc.service("feed")
class Feed:
    """Streams of all kinds."""

    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[int]:
        """Count up."""
        for number in range(limit):
            yield number

    @fastrpc.method
    def parts(self, text: str) -> Iterator[str]:
        yield from text.split(",")

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int], start: int = 0) -> int:
        return start + sum([number async for number in numbers])

    @fastrpc.method
    async def shout(self, words: AsyncIterator[str]) -> AsyncIterator[str]:
        try:
            async for word in words:
                yield word.upper()
        finally:
            print("the words ended", flush=True)

    @fastrpc.method
    async def first(self, prefix: str, words: AsyncIterator[str]) -> AsyncIterator[str]:
        """Answer the first word only, without waiting for others."""
        yield prefix + await anext(words)

    @fastrpc.method
    async def ticks(self) -> AsyncIterator[dict[str, int]]:
        number = 0
        try:
            while True:
                yield {"number": number}
                number += 1
                await asyncio.sleep(0.001)
        finally:
            print("the caller left", flush=True)

    @fastrpc.method
    async def silent(self) -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            print("the silence ended", flush=True)

    @fastrpc.method
    async def fail(self, after: int) -> AsyncIterator[int]:
        for number in range(after):
            yield number
        raise fastrpc.CallError(fastrpc.Status.NOT_FOUND, "no more")

    @fastrpc.method
    async def escaped(self) -> AsyncIterator[str]:
        yield "\\x1b[2J\\n"

    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b

    @fastrpc.method
    async def said(self, text: str) -> str:
        return text


services = [Feed]
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("streams")
    (folder / "app.py").write_text(APP)
    return folder


def serving(folder: Path, *options: str) -> Program:
    return Program(["-m", "fastrpc", "run", "app:services", "-a", "tcp://127.0.0.1:0", *options], folder)


def address_of(server: Program) -> str:
    return server.wait_output(r"serving at (\S+)\n")[1]


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Program]:
    with serving(folder) as program:
        address_of(program)
        yield program


@pytest.fixture(scope="module")
def address(server: Program) -> str:
    return address_of(server)


@pytest.fixture(scope="module")
def hidden(folder: Path) -> Iterator[str]:
    """The address of a server that does not show its signatures."""
    with serving(folder, "--no-reflection") as program:
        yield address_of(program)


def opened(folder: Path, *arguments: str) -> Program:
    return Program(["-m", "fastrpc", *arguments], folder, stdin=subprocess.PIPE)


def command(folder: Path, *arguments: str, given: str = "") -> Finished:
    with opened(folder, *arguments) as program:
        program.write(given)
        program.close_input()
        return program.wait()


class TestServerStream:
    def test_each_message_is_a_line(self, folder: Path, address: str) -> None:
        ended = command(folder, "call", address, "feed.count", "4")
        assert (ended.code, ended.output) == (0, "0\n1\n2\n3\n")
        assert re.fullmatch(r"OK in [\d.]+ ms, 4 messages from \S+\n", ended.errors)

    def test_all_of_many_messages_come_in_order(self, folder: Path, address: str) -> None:
        ended = command(folder, "call", address, "feed.count", "50_000".replace("_", ""))
        assert ended.output.split() == [str(number) for number in range(50_000)]

    def test_generator_in_a_thread_gets_a_text_argument_unparsed(self, folder: Path, address: str) -> None:
        ended = command(folder, "call", address, "feed.parts", "1,b")
        assert (ended.code, ended.output) == (0, '"1"\n"b"\n')

    def test_messages_before_an_error_are_printed(self, folder: Path, address: str) -> None:
        ended = command(folder, "call", address, "feed.fail", "2")
        assert (ended.code, ended.output, ended.errors) == (1, "0\n1\n", "error: NOT_FOUND: no more\n")

    def test_tells_machines_messages_and_end(self, folder: Path, address: str) -> None:
        lines = command(folder, "call", address, "feed.count", "2", "--json").output.splitlines()
        *messages, end = map(json.loads, lines)
        assert messages == [{"message": 0}, {"message": 1}]
        assert (end["messages"], end["status"], end["endpoint"]) == (2, "OK", address)

    def test_prints_the_error_after_the_messages_as_json_for_machines(
        self, folder: Path, address: str
    ) -> None:
        lines = command(folder, "call", address, "feed.fail", "1", "--json").output.splitlines()
        assert [json.loads(line) for line in lines] == [
            {"message": 0},
            {"error": "NOT_FOUND: no more", "hint": None, "kind": "CallError", "status": "NOT_FOUND"},
        ]

    def test_messages_cannot_control_the_terminal(self, folder: Path, address: str) -> None:
        assert "\x1b" not in command(folder, "call", address, "feed.escaped").output

    def test_time_limit_is_for_the_whole_stream(self, folder: Path, address: str) -> None:
        ended = command(folder, "call", address, "feed.silent", "--timeout", "1.5")
        assert (ended.code, ended.output) == (1, "1\n")
        assert "feed.silent" in ended.errors

    def test_interruption_cancels_the_handler(self, folder: Path) -> None:
        with serving(folder) as server:
            with opened(folder, "call", address_of(server), "feed.silent") as program:
                program.wait_output("1\n")
                program.signal(signal.SIGINT)
                ended = program.wait()
            assert (ended.code, ended.output, ended.errors) == (130, "1\n", "")
            server.wait_output("the silence ended")

    def test_reader_that_left_ends_it_quietly(self, folder: Path) -> None:
        with serving(folder) as server:
            with opened(folder, "call", address_of(server), "feed.ticks") as program:
                program.wait_output(r'"number":5\b')
                program.close_output()
                ended = program.wait()
            assert (ended.code, ended.errors) == (1, "")
            server.wait_output("the caller left")


class TestClientStream:
    def test_lines_are_messages(self, folder: Path, address: str) -> None:
        ended = command(folder, "call", address, "feed.total", "-", given="1\n2\n\n3")
        assert (ended.code, ended.output) == (0, "6\n")

    def test_other_arguments_are_given_next_to_the_stream(self, folder: Path, address: str) -> None:
        for arguments in (["-", "10"], ["-", "start=10"], ["numbers=-", "start=10"], ["start=10", "-"]):
            assert command(folder, "call", address, "feed.total", *arguments, given="1\n").output == "11\n"

    def test_input_may_be_a_file_or_nothing(self, folder: Path, address: str) -> None:
        path = folder / "numbers"
        path.write_text("\n".join(map(str, range(20_000))))
        with path.open("rb") as file:
            arguments = ["-m", "fastrpc", "call", address, "feed.total", "-"]
            with Program(arguments, folder, stdin=file) as program:
                assert program.wait().output == f"{sum(range(20_000))}\n"
            with Program(arguments, folder) as program:
                assert program.wait().output == "0\n"

    def test_place_of_the_stream_has_to_be_marked(self, folder: Path, address: str) -> None:
        ended = command(folder, "call", address, "feed.total", "10")
        assert (ended.code, ended.output) == (2, "")
        assert "feed.total takes a stream of messages\nhint: write - in place of the stream" in ended.errors

    def test_message_of_another_type_is_refused_by_the_server(self, folder: Path, address: str) -> None:
        ended = command(folder, "call", address, "feed.total", "-", given="1\nx\n")
        assert (ended.code, ended.output) == (1, "")
        assert "expected `int`, got `str`" in ended.errors

    def test_input_that_is_not_text_is_a_usage_error(self, folder: Path, address: str) -> None:
        (folder / "binary").write_bytes(b"1\n\xff\xfe\n")
        with (folder / "binary").open("rb") as file:
            arguments = ["-m", "fastrpc", "call", address, "feed.total", "-"]
            with Program(arguments, folder, stdin=file) as program:
                ended = program.wait()
        assert (ended.code, "line 2 of the standard input is not UTF-8" in ended.errors) == (2, True)


class TestBothWays:
    def test_lines_are_texts_where_messages_are(self, folder: Path, address: str) -> None:
        ended = command(folder, "call", address, "feed.shout", "-", given="a\n1\n\nb c\r\n")
        assert (ended.code, ended.output) == (0, '"A"\n"1"\n""\n"B C"\n')

    def test_answers_come_while_input_is_open(self, folder: Path, address: str) -> None:
        with opened(folder, "call", address, "feed.shout", "-") as program:
            for word in ("one", "two"):
                program.write(f"{word}\n")
                program.wait_output(f'"{word.upper()}"\n')
            program.close_input()
            assert program.wait().code == 0

    def test_end_of_the_answers_is_the_end_even_with_unread_input(self, folder: Path, address: str) -> None:
        with opened(folder, "call", address, "feed.first", "say ", "-") as program:
            program.write("it\n")
            ended = program.wait()
        assert (ended.code, ended.output) == (0, '"say it"\n')

    def test_interruption_while_it_waits_for_input(self, folder: Path) -> None:
        with serving(folder) as server:
            with opened(folder, "call", address_of(server), "feed.shout", "-") as program:
                program.write("a\n")
                program.wait_output('"A"')
                program.signal(signal.SIGINT)
                ended = program.wait()
            assert (ended.code, ended.errors) == (130, "")
            server.wait_output("the words ended")


class TestKinds:
    def test_list_shows_them(self, folder: Path, address: str) -> None:
        said = command(folder, "list", address).output
        assert re.search(
            r"^  count\(limit: int\) -> AsyncIterator\[int\] +server stream +Count up\.", said, re.MULTILINE
        )
        assert re.search(r"^  parts\(text: str\) -> AsyncIterator\[str\] +server stream", said, re.MULTILINE)
        assert re.search(
            r"^  total\(numbers: AsyncIterator\[int\], start: int = 0\) -> int +client stream",
            said,
            re.MULTILINE,
        )
        assert re.search(
            r"^  shout\(words: AsyncIterator\[str\]\) -> AsyncIterator\[str\] +both ways", said, re.MULTILINE
        )
        assert re.search(r"^  mul\(a: int, b: int\) -> int *$", said, re.MULTILINE)

    def test_dash_is_a_text_where_nothing_is_streamed(self, folder: Path, address: str) -> None:
        assert command(folder, "call", address, "feed.said", "-").output == '"-"\n'

    def test_server_without_reflection_is_told_the_kind(self, folder: Path, hidden: str) -> None:
        ended = command(folder, "call", hidden, "feed.count", "2", "--kind", "server_stream")
        assert (ended.code, ended.output) == (0, "0\n1\n")
        ended = command(folder, "call", hidden, "feed.total", "-", "--kind", "client_stream", given="1\n2\n")
        assert (ended.code, ended.output) == (0, "3\n")
        ended = command(folder, "call", hidden, "feed.shout", "-", "--kind", "both_ways", given="a\n")
        assert (ended.code, ended.output) == (0, '"A"\n')
        assert command(folder, "call", hidden, "feed.mul", "6", "7").output == "42\n"

    @pytest.mark.parametrize("arguments", [["feed.count", "2"], ["feed.total", "-"], ["feed.shout", "-"]])
    def test_server_without_reflection_names_the_option(
        self, folder: Path, hidden: str, arguments: list[str]
    ) -> None:
        ended = command(folder, "call", hidden, *arguments)
        assert (ended.code, ended.output) == (1, "")
        assert (
            "hint: name the kind of stream: --kind server_stream, client_stream or both_ways" in ended.errors
        )

    def test_invalid_kind_is_a_wrong_use(self, folder: Path, address: str) -> None:
        ended = command(folder, "call", address, "feed.count", "2", "--kind", "stream")
        assert (ended.code, "--kind" in ended.errors) == (2, True)


class TestBench:
    def test_server_stream(self, folder: Path, address: str) -> None:
        ended = command(folder, "bench", address, "feed.count", "100", "-c", "2", "-d", "0.2")
        assert ended.code == 0
        assert re.search(r"^[\d,]+ messages in [\d,]+ streams in [\d.]+ s by 2 callers", ended.output)
        assert re.search(r"^rate +[\d,]+ messages/s$", ended.output, re.MULTILINE)
        assert re.search(r"^first +p50 .* p99 ", ended.output, re.MULTILINE)

    def test_endless_stream_has_gaps_and_is_left_at_the_end(self, folder: Path) -> None:
        with serving(folder) as server:
            arguments = ["bench", address_of(server), "feed.ticks", "-c", "3", "-d", "0.3", "--json"]
            said = json.loads(command(folder, *arguments).output)
            assert (said["kind"], said["streams"], said["errors"]) == ("server_stream", 3, {})
            assert said["messages"] > 3
            assert 0 < said["gap"]["p50"] <= said["gap"]["p99"] <= said["gap"]["longest"]
            assert said["first"]["p50"] > 0
            server.wait_output(r"(?s)(the caller left.*){4}")

    def test_silent_stream_is_left_at_the_end(self, folder: Path, address: str) -> None:
        said = json.loads(
            command(folder, "bench", address, "feed.silent", "-c", "2", "-d", "0.2", "--json").output
        )
        assert (said["streams"], said["messages"], said["errors"]) == (2, 2, {})

    def test_client_stream_repeats_the_input(self, folder: Path, address: str) -> None:
        arguments = ["bench", address, "feed.total", "-", "-c", "2", "-d", "0.2", "--json"]
        said = json.loads(command(folder, *arguments, given="1\n2\n").output)
        assert (said["kind"], said["streams"], said["errors"]) == ("client_stream", 2, {})
        assert said["messages"] == said["sent"] > 4
        assert said["answer"]["longest"] > 0

    def test_bench_of_a_bidirectional_stream_counts_the_answers(self, folder: Path, address: str) -> None:
        arguments = ["bench", address, "feed.shout", "-", "-c", "2", "-d", "0.2", "--json"]
        said = json.loads(command(folder, *arguments, given="a\n").output)
        assert (said["kind"], said["errors"]) == ("both_ways", {})
        assert 0 < said["messages"] <= said["sent"]

    def test_errors_are_counted(self, folder: Path, address: str) -> None:
        ended = command(folder, "bench", address, "feed.fail", "1", "-c", "2", "-d", "0.2")
        assert ended.code == 1
        assert re.search(r"^errors +[\d,]+ × NOT_FOUND$", ended.output, re.MULTILINE)

    def test_method_that_cannot_be_called_fails_at_once(self, folder: Path, address: str) -> None:
        ended = command(folder, "bench", address, "feed.count", "x", "-d", "60")
        assert (ended.code, ended.output) == (1, "")
        assert "expected `int`" in ended.errors
