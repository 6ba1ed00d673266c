"""Acts on a server of one process: they change it, answer with the values, and are in the audit."""

import asyncio
import json
import logging
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

import fastrpc
from fastrpc import Client, Server
from tests.support.admin_pages import OPERATOR, act, operators_file, page, post_act, server_with_pages
from tests.support.peer_writing import write_to
from tests.support.program import Program

pytestmark = pytest.mark.one_loop


@fastrpc.service("acted")
class Acted:
    @fastrpc.method(idempotent=True)
    async def same(self, number: int) -> int:
        return number


@fastrpc.service("other")
class Other:
    @fastrpc.method
    async def note(self) -> None: ...


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with server_with_pages(Acted(), Other(), admin_operators=operators_file(tmp_path)) as made:
        yield made


@pytest.fixture
def level_kept() -> Iterator[None]:
    """Give the logger of servers its level back."""
    logger = logging.getLogger("fastrpc.server")
    before = logger.level
    yield
    logger.setLevel(before)


async def identity_of(server: Server) -> str:
    identity = (await page(server, "/figures")).json["server"]
    assert isinstance(identity, str)
    return identity


async def test_a_service_is_set_not_to_serve_and_to_serve_again(server: Server) -> None:
    answer = await act(server, "serving", service="acted", serving=False, was=True)
    assert answer.status == 200
    [process] = answer.json["processes"]
    assert answer.json == {
        "act": "serving",
        "server": await identity_of(server),
        "before": True,
        "after": False,
        "processes": [process],
        "without": [],
    }
    services = {one["name"]: one["state"] for one in (await page(server, "/services")).json["services"]}
    assert services == {"acted": "NOT_SERVING", "other": "SERVING"}
    async with Client(str(server._listening.listeners[0].address)) as client:
        # Its calls are served either way.
        assert await client.call(Acted.same, 5) == 5
    answer = await act(server, "serving", service="acted", serving=True, was=False)
    assert (answer.json["before"], answer.json["after"]) == (False, True)
    assert (await page(server, "/readyz")).status == 200


async def test_the_whole_server_is_set_not_to_serve(server: Server) -> None:
    assert (await act(server, "serving", service="", serving=False, was=True)).status == 200
    assert (await page(server, "/readyz")).status == 503


async def test_an_act_that_saw_another_value_changes_nothing(server: Server) -> None:
    answer = await act(server, "serving", service="acted", serving=False, was=False)
    # Only the caller's belief says that the record has the wanted value already.
    assert (answer.status, answer.json["now"]) == (409, True)
    assert server._health.is_serving("acted")
    assert (await act(server, "serving", service="acted", serving=False, was=True)).status == 200
    answer = await act(server, "serving", service="acted", serving=False, was=True)
    assert (answer.status, answer.json["now"]) == (409, False)
    assert answer.json["error"] == "the value has changed meanwhile, nothing was changed"


async def test_an_act_on_an_unknown_service_is_refused(server: Server) -> None:
    answer = await act(server, "serving", service="actd", serving=False, was=True)
    assert (answer.status, answer.json) == (404, {"error": "this server has no service 'actd'"})


@pytest.mark.parametrize("name", ["", "fastrpc"])
async def test_no_level_above_the_audit_silences_it(
    name: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        answer = await act(server, "log_level", logger=name, level="critical", was="warning")
        assert answer.status == 200
        assert (await act(server, "serving", service="acted", serving=False, was=True)).status == 200
    finally:
        logger.setLevel(before)
    events = [vars(one)["event"] for one in caplog.records if one.name == "fastrpc.audit"]
    assert events == ["admin_act"] * 2


@pytest.mark.parametrize("name", ["fastrpc.audit", "fastrpc.audit.below"])
async def test_the_level_of_the_audit_is_not_for_acts(
    name: str, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    before = logging.getLogger(name).getEffectiveLevel()
    answer = await act(
        server, "log_level", logger=name, level="critical", was=logging.getLevelName(before).lower()
    )
    assert (answer.status, answer.json) == (403, {"error": "acts cannot change the level of the audit log"})
    assert logging.getLogger(name).getEffectiveLevel() == before
    [record] = [one for one in caplog.records if one.name == "fastrpc.audit"]
    assert "authorisation refused: ada of " in record.getMessage()


@pytest.mark.usefixtures("level_kept")
async def test_a_logger_gets_another_level(server: Server) -> None:
    logger = logging.getLogger("fastrpc.server")
    logger.setLevel(logging.WARNING)
    answer = await act(server, "log_level", logger="fastrpc.server", level="debug", was="warning")
    assert answer.status == 200
    assert (answer.json["before"], answer.json["after"]) == ("warning", "debug")
    assert logger.level == logging.DEBUG
    answer = await act(server, "log_level", logger="fastrpc.server", level="info", was="warning")
    assert (answer.status, answer.json["now"]) == (409, "debug")


async def test_an_act_makes_no_logger(server: Server) -> None:
    answer = await act(server, "log_level", logger="made.by.an.act", level="debug", was="info")
    assert (answer.status, answer.json) == (404, {"error": "there is no logger of this name"})
    assert "made.by.an.act" not in logging.Logger.manager.loggerDict


async def test_an_invalid_level_is_refused(server: Server) -> None:
    answer = await act(server, "log_level", logger="fastrpc", level="loud", was="info")
    assert answer.status == 400
    assert answer.json["error"] == "level must be one of debug, info, warning, error, critical"


async def test_acts_are_in_the_audit_with_person_and_values(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    # The log level of a program that configures no logging.
    with caplog.at_level(logging.WARNING, "fastrpc.audit"):
        await act(server, "serving", service="acted", serving=False, was=True)
        await act(server, "serving", service="acted", serving=False, was=True)
    done, refused = [one for one in caplog.records if one.name == "fastrpc.audit"]
    assert done.getMessage().startswith("act serving acted by ada of tcp://127.0.0.1:")
    assert done.getMessage().endswith(": True before, False now")
    facts = vars(done)
    assert (facts["event"], facts["operator"], facts["before"], facts["after"]) == (
        "admin_act",
        "ada",
        True,
        False,
    )
    assert (refused.levelno, vars(refused)["identity"]) == (logging.WARNING, "ada")
    assert "act refused: ada of tcp://127.0.0.1:" in refused.getMessage()


async def test_acts_are_taken_at_a_unix_socket(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    place = tmp_path / "admin.sock"
    body = b'{"service": "", "serving": false, "was": true}'
    head = (
        f"POST /act/serving HTTP/1.1\r\nHost: pages\r\nAuthorization: Bearer {OPERATOR}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    operators = operators_file(tmp_path)
    async with server_with_pages(Acted(), address=f"unix://{place}", admin_operators=operators) as server:
        with caplog.at_level(logging.INFO, "fastrpc.audit"):
            reader, writer = await asyncio.open_unix_connection(place)
            write_to(writer, head.encode() + body)
            answer = await reader.read()
            writer.close()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert not server._health.is_serving("")
    assert "act serving by ada of unix:" in caplog.text


async def test_names_in_the_audit_are_escaped(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    await page(
        server,
        "/act/%1b[31m",
        "POST",
        body=b"{}",
        Authorization="Bearer token-of-an-operator",
        Content_Type="application/json",
    )
    assert caplog.records
    assert all(one.getMessage().isprintable() for one in caplog.records)


async def test_a_server_is_drained(server: Server) -> None:
    identity = await identity_of(server)
    serving = asyncio.ensure_future(server.serve_forever())
    answer = await act(server, "drain", was={"server": identity})
    assert answer.status == 200
    async with asyncio.timeout(20):
        await serving
    assert server.is_draining


async def test_a_server_that_was_started_anew_is_not_drained(server: Server) -> None:
    answer = await act(server, "drain", was={"server": "of-before"})
    assert (answer.status, answer.json["now"]) == (409, {"server": await identity_of(server)})
    assert not server.is_draining


async def test_one_process_cannot_roll(server: Server) -> None:
    answer = await act(server, "roll", was={"server": await identity_of(server)})
    assert (answer.status, answer.json) == (
        409,
        {"error": "the server has one process: there are no workers to replace"},
    )


PROGRAM = """
import fastrpc


@fastrpc.service("acted")
class Acted:
    @fastrpc.method
    async def same(self, number: int) -> int:
        return number


if __name__ == "__main__":
    fastrpc.serve(
        Acted,
        address="tcp://127.0.0.1:0",
        config=fastrpc.ServerConfig(admin_address="tcp://127.0.0.1:0", admin_operators="operators.toml"),
    )
"""


def test_the_act_drain_ends_a_program_as_its_signal_does(tmp_path: Path) -> None:
    operators_file(tmp_path)
    (tmp_path / "acted.py").write_text(f"import logging\nlogging.basicConfig(level=20)\n{PROGRAM}")
    with Program(["acted.py"], tmp_path) as program:
        port = int(program.wait_errors(r"admin pages at tcp://127\.0\.0\.1:(\d+)")[1])
        program.wait_errors("listening at")
        answer = post_act(port, "drain", was={"server": "of-before"})
        answer = post_act(port, "drain", was=answer.json["now"])
        assert answer.status == 200
        assert program.wait().code == 0
    assert "by ada of" in program.errors


def test_signals_still_end_a_program_after_an_act_drained_it(tmp_path: Path) -> None:
    operators_file(tmp_path)
    text = PROGRAM.replace("return number", "import asyncio; await asyncio.Event().wait()")
    (tmp_path / "acted.py").write_text(f"import logging\nlogging.basicConfig(level=20)\n{text}")
    with Program(["acted.py"], tmp_path) as program:
        port = int(program.wait_errors(r"admin pages at tcp://127\.0\.0\.1:(\d+)")[1])
        address = program.wait_errors(r"listening at (\S+)")[1]

        async def cut_off() -> None:
            async with Client(address) as client:
                call = asyncio.ensure_future(client.with_options(timeout=None).call("acted.same", 5))
                while not (await asyncio.to_thread(lambda: json.loads(_calls(port))))["total"]:
                    pass
                now = (await asyncio.to_thread(post_act, port, "drain", was={"server": ""})).json["now"]
                assert (await asyncio.to_thread(post_act, port, "drain", was=now)).status == 200
                # The drain waits for the call; a second request changes nothing.
                assert (await asyncio.to_thread(post_act, port, "drain", was=now)).status == 409
                program.signal(signal.SIGTERM)
                await asyncio.gather(call, return_exceptions=True)

        asyncio.run(cut_off())
        assert program.wait().code != 0


def _calls(port: int) -> bytes:
    from tests.support.admin_pages import fetch

    return fetch(port, "/calls", Accept="application/json").content
