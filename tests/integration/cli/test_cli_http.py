"""`fastrpc call http://…`: the same calls, output and exit codes as by the native protocol."""

import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import fastrpc
from fastrpc import HTTP, CallError, ServerConfig, Status, current_call
from fastrpc.auth import Identity, StaticTokens
from fastrpc.cli.calling.standard_streams import LONGEST_LINE
from tests.support.certificates import Authority
from tests.support.ports import has_ipv6
from tests.support.program import Finished, Program
from tests.support.threaded_server import ThreadedServer


@fastrpc.service("feed")
class Feed:
    @fastrpc.method
    async def mul(self, a: int, b: int = 2) -> int:
        current_call().reply_metadata["cost"] = "1 €"
        return a * b

    @fastrpc.method
    async def said(self, text: str) -> str:
        return f"{text} {current_call().metadata.get('user')}"

    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number
        if limit > 3:
            raise CallError(Status.NOT_FOUND, "no more")

    @fastrpc.method
    async def shout(self, prefix: str, words: AsyncIterator[str]) -> AsyncIterator[str]:
        async for word in words:
            yield prefix + word.upper()

    @fastrpc.method
    async def answer(self, status: int) -> int | None:
        current_call().http(status=status)
        return None if status in (204, 205) else status

    @fastrpc.method
    async def fail(self) -> None:
        raise CallError(Status.ABORTED, "not now", details={"at": 7})


@fastrpc.service("guarded")
class Guarded:
    @fastrpc.method
    async def mul(self, a: int, b: int = 2) -> int:
        return a * b

    @fastrpc.method(roles=("auditor",))
    async def audit(self, a: int) -> int:
        return a


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    config = ServerConfig(protocols=("native", "http"), http=HTTP())
    with ThreadedServer(Feed(), config=config) as server:
        yield str(server.address).replace("tcp://", "http://")


def command(folder: Path, *arguments: str, given: str = "", **variables: str) -> Finished:
    words = ["-m", "fastrpc", "call", *arguments]
    with Program(words, folder, stdin=subprocess.PIPE, environment=variables) as program:
        program.write(given)
        program.close_input()
        return program.wait()


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (["feed.mul", "21"], "42\n"),
        (["feed.mul", "b=4", "a=5"], "20\n"),
        (["feed.said", "12", "-m", "user=Ada L."], '"12 Ada L."\n'),
        (["feed.count", "limit=3"], "0\n1\n2\n"),
        (["feed.shout", "o ", "-"], '"o A"\n"o 7"\n'),
    ],
)
def test_a_call_prints_its_answer(address: str, tmp_path: Path, arguments: list[str], printed: str) -> None:
    done = command(tmp_path, address, *arguments, given="a\n7\n")
    assert (done.code, done.output) == (0, printed), done
    assert "OK in" in done.errors


def test_the_zone_of_an_address_stays_on_this_machine(tmp_path: Path) -> None:
    if not has_ipv6():
        pytest.skip("this machine has no ::1")
    config = ServerConfig(protocols=("native", "http"))
    with ThreadedServer(Feed(), config=config, listen="tcp://[::1]:0") as server:
        port = str(server.address).rpartition(":")[2]
        done = command(tmp_path, f"http://[::1%1]:{port}", "feed.mul", "21")
    assert (done.code, done.output) == (0, "42\n"), done
    config = ServerConfig(protocols=("native", "http"), tls=Authority(tmp_path).certificate().tls())
    with ThreadedServer(Feed(), config=config, listen="tls://[::1]:0") as server:
        port = str(server.address).rpartition(":")[2]
        done = command(tmp_path, f"http://[::1%1]:{port}", "feed.mul", "21")
    # The address in a hint is for this machine.
    assert f"write https://[::1%1]:{port}" in " ".join(done.errors.split())


@pytest.mark.parametrize(
    ("status", "printed"), [(201, "201"), (202, "202"), (204, "null"), (205, "null"), (303, "303")]
)
def test_a_status_that_a_handler_sets_is_an_answer(
    address: str, tmp_path: Path, status: int, printed: str
) -> None:
    done = command(tmp_path, address, "feed.answer", str(status))
    assert (done.code, done.output.strip()) == (0, printed)


@pytest.mark.parametrize(
    ("scheme", "given", "times", "mode", "told"),
    [
        ("http", b"a\n\xff\n", 1, "rb", "line 2 of the standard input is not UTF-8"),
        ("http", b"x", LONGEST_LINE + 1, "rb", f"line 1 of the standard input has more than {LONGEST_LINE}"),
        ("http", b"", 0, "wb", "the standard input cannot be read"),
        ("tcp", b"", 0, "wb", "the standard input cannot be read"),
    ],
)
def test_input_that_cannot_be_sent_is_a_wrong_use(
    address: str, tmp_path: Path, scheme: str, given: bytes, times: int, mode: str, told: str
) -> None:
    (tmp_path / "given").write_bytes(given * times)
    words = ["-m", "fastrpc", "call", address.replace("http", scheme), "feed.shout", "o ", "-"]
    with (tmp_path / "given").open(mode) as file, Program(words, tmp_path, stdin=file) as program:
        done = program.wait()
    assert (done.code, told in done.errors) == (2, True), done


def test_machines_get_lines_of_json(address: str, tmp_path: Path) -> None:
    done = command(tmp_path, address, "feed.mul", "a=2", "--json")
    value, facts = map(json.loads, [done.output.splitlines()[0]] * 2)
    assert (value["value"], facts["status"], facts["metadata"]) == (4, "OK", {"cost": "1 €"})
    lines = command(tmp_path, address, "feed.count", "2", "--json").output.splitlines()
    assert [json.loads(line).get("message") for line in lines[:2]] == [0, 1]
    assert json.loads(lines[2])["messages"] == 2


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["feed.fail"], 1, "not now"),
        (["feed.count", "4"], 1, "no more"),
        (["feed.none"], 1, "feed.none"),
        (["feed.mull", "1"], 1, "did you mean 'feed.mul'?"),
        (["none.at_all", "1"], 1, "it describes feed.mul"),
        (["feed.mul", "1", "2", "3"], 2, "by position"),
        (["feed.mul", "a=x"], 1, "int"),
        (["feed.shout", "x"], 2, "takes a stream"),
        (["feed.mul", "1", "--codec", "msgpack"], 2, "json"),
    ],
)
def test_errors_have_the_exit_codes_of_native_calls(
    address: str, tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    done = command(tmp_path, address, *arguments)
    assert done.code == code, done
    assert told in done.errors


def test_a_failure_is_told_to_machines_with_its_status(address: str, tmp_path: Path) -> None:
    found = json.loads(command(tmp_path, address, "feed.fail", "--json").output)
    assert (found["status"], found["error"]) == ("ABORTED", "ABORTED: not now")


def test_a_token_is_shown_and_never_sent_in_the_clear(tmp_path: Path) -> None:
    config = ServerConfig(protocols=("http",), http=HTTP(docs=False))
    tokens = StaticTokens({"secret": Identity("ada")})
    with ThreadedServer(Feed(), config=config, authenticate=tokens) as server:
        address = str(server.address).replace("tcp://", "http://")
        assert command(tmp_path, address, "feed.mul", "a=3", FASTRPC_TOKEN="secret").output == "6\n"
        done = command(tmp_path, address, "feed.mul", "a=3")
        assert (done.code, "token" in done.errors) == (1, True)
        done = command(tmp_path, address, "feed.mul", "a=3", "-m", "authorization=Bearer secret")
        assert done.output == "6\n", done
        # Where pages are not shown, arguments have names.
        done = command(tmp_path, address, "feed.mul", "3", FASTRPC_TOKEN="secret")
        assert (done.code, "name=value" in done.errors) == (2, True)
    far = ("http://192.0.2.1:80", "feed.mul", "a=3")
    for done in (
        command(tmp_path, *far, FASTRPC_TOKEN="secret"),
        command(tmp_path, *far, "-m", "authorization=Bearer secret"),
    ):
        assert (done.code, "in the clear" in done.errors) == (2, True)


def test_a_description_is_that_for_the_caller(tmp_path: Path) -> None:
    tokens = StaticTokens({"secret": Identity("ada")})
    config = ServerConfig(protocols=("http",), http=HTTP())
    with ThreadedServer(Guarded(), config=config, authenticate=tokens) as server:
        address = str(server.address).replace("tcp://", "http://")
        done = command(tmp_path, address, "guarded.mul", "3", "-m", "authorization=Bearer secret")
        assert done.output == "6\n", done
        # A method that is not described to this caller may be there.
        done = command(tmp_path, address, "guarded.audit", "3", FASTRPC_TOKEN="secret")
        assert (done.code, "name=value" in done.errors) == (2, True)
        done = command(tmp_path, address, "guarded.audit", "a=3", FASTRPC_TOKEN="secret")
        assert (done.code, "PERMISSION_DENIED" in done.errors) == (1, True)


def test_an_encrypted_server_is_checked(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    tls = authority.certificate().tls(authority)
    config = ServerConfig(protocols=("http",), tls=tls)
    tokens = StaticTokens({"secret": Identity("ada")})
    with ThreadedServer(Feed(), config=config, authenticate=tokens, listen="tls://127.0.0.1:0") as server:
        address = str(server.address).replace("tls://", "https://")
        call = (address, "feed.mul", "a=3")
        done = command(tmp_path, *call, "--ca", str(authority.cert_file), FASTRPC_TOKEN="secret")
        assert (done.code, done.output) == (0, "6\n"), done
        done = command(tmp_path, *call, FASTRPC_TOKEN="secret")
        assert (done.code, "certificate" in done.errors) == (1, True), done
        # The reader of the answer is woken there as well.
        words = ["-m", "fastrpc", "call", address, "feed.shout", "o ", "-", "--ca", str(authority.cert_file)]
        with (tmp_path / "given").open("wb") as file:
            variables = {"FASTRPC_TOKEN": "secret"}
            with Program(words, tmp_path, variables, stdin=file) as program:
                done = program.wait()
        assert (done.code, "cannot be read" in done.errors) == (2, True), done


def test_a_stream_goes_both_ways_at_once_under_tls(tmp_path: Path) -> None:
    """More each way than the sockets and the server hold."""
    authority = Authority(tmp_path)
    config = ServerConfig(protocols=("http",), tls=authority.certificate().tls(authority))
    given = tmp_path / "given"
    given.write_text("".join(f"{number:05} {'x' * 4_090}\n" for number in range(4_000)))
    with (
        ThreadedServer(Feed(), config=config, listen="tls://127.0.0.1:0") as server,
        given.open("rb") as file,
    ):
        address = str(server.address).replace("tls://", "https://")
        words = ["-m", "fastrpc", "call", address, "feed.shout", "", "-", "--ca", str(authority.cert_file)]
        with Program(words, tmp_path, stdin=file) as program:
            done = program.wait()
    assert done.code == 0, done.errors
    assert done.output.splitlines() == [f'"{line.upper()}"' for line in given.read_text().splitlines()]


@pytest.mark.parametrize("address", ["http://", "http://127.0.0.1:80/path", "http://127.0.0.1:x"])
def test_an_address_is_host_and_port(tmp_path: Path, address: str) -> None:
    assert command(tmp_path, address, "feed.mul", "a=3").code == 2


def test_a_server_that_serves_no_http_is_reported(tmp_path: Path) -> None:
    with ThreadedServer(Feed()) as server:
        done = command(tmp_path, str(server.address).replace("tcp://", "http://"), "feed.mul", "a=3")
    assert done.code == 1
    assert "without an answer" in done.errors
    assert 'protocols=("native", "http")' in " ".join(done.errors.split())


@pytest.mark.parametrize("protocols", [("http",), ("native",)])
def test_a_server_that_speaks_tls_is_reported(tmp_path: Path, protocols: tuple[str, ...]) -> None:
    authority = Authority(tmp_path)
    tls = authority.certificate().tls(authority)
    config = ServerConfig(protocols=protocols, tls=tls)
    with ThreadedServer(Feed(), config=config, listen="tls://127.0.0.1:0") as server:
        address = str(server.address).replace("tls://", "http://")
        for arguments in (("feed.mul", "a=3"), ("feed.mul", "3")):
            done = command(tmp_path, address, *arguments)
            assert done.code == 1
            said = " ".join(done.errors.split())
            assert f"the server speaks TLS there: write {address.replace('http:', 'https:')}" in said
            assert "protocols=" not in said


def test_a_missing_server_is_told(tmp_path: Path) -> None:
    done = command(tmp_path, "http://127.0.0.1:1", "feed.mul", "a=3")
    assert (done.code, "check the address" in done.errors) == (1, True)


@pytest.mark.parametrize("what", ["a=3", "3"], ids=["answer", "document"])
def test_a_server_that_drips_is_not_waited_for(tmp_path: Path, what: str) -> None:
    is_over = threading.Event()

    def drip(listening: socket.socket) -> None:
        connected, _ = listening.accept()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9999\r\n\r\n"
        with connected, contextlib.suppress(OSError):
            connected.sendall(head)
            while not is_over.wait(0.1):
                connected.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=drip, args=(listening,))
        thread.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            done = command(tmp_path, address, "feed.mul", what, "--timeout", "0.5")
        finally:
            is_over.set()
            thread.join(20)
    assert (done.code, "within 0.5 s" in done.errors) == (1, True), done


def test_an_invalid_document_is_no_defect_of_ours(tmp_path: Path) -> None:
    forms = {"application/x-ndjson": {"schema": {"anyOf": 5}}}
    document = {"paths": {"/feed/mul": {"post": {"requestBody": {"content": forms}}}}}

    def serve(listening: socket.socket) -> None:
        connected, _ = listening.accept()
        with connected:
            connected.recv(65_536)
            connected.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + json.dumps(document).encode())

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve, args=(listening,))
        thread.start()
        done = command(tmp_path, f"http://127.0.0.1:{listening.getsockname()[1]}", "feed.mul", "3")
        thread.join(20)
    assert (done.code, "by position" in done.errors) == (2, True), done
