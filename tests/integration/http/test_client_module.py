"""`/client.js` in Node, as the server gives it: calls, streams, errors, cancelling."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc.auth import Identity, StaticTokens
from tests.support.described import Described, described, session
from tests.support.node import needs_node, run_module
from tests.support.peer_writing import write_to

pytestmark = pytest.mark.one_loop


async def run(serving: Described, folder: Path, program: str) -> Any:
    """Run a program that has the module as `Client` and `CallError`, and return its result."""
    async with session() as client, client.get(f"{serving.origin}/client.js") as answer:
        (folder / "client.mjs").write_bytes(await answer.read())
    (folder / "main.mjs").write_text(
        'import { Client, CallError } from "./client.mjs";\n'
        f'const base = "{serving.origin}";\n'
        "const plain = (_, value) => typeof value === 'bigint' ? `big ${value}` : value;\n"
        f"const main = async () => {{ {program} }};\n"
        "console.log(JSON.stringify(await main() ?? null, plain));\n"
    )
    return await run_module(folder / "main.mjs")


@needs_node
async def test_it_calls_methods(tmp_path: Path) -> None:
    program = """
        const client = new Client({ base });
        return [await client.call("arith.mul", { a: 6, b: 7 }), await client.call("Sums.mul", { a: 4 }),
            await client.call("arith.product", { factors: [2, 3] }), await client.call("arith.large")];
    """
    async with described() as serving:
        found = await run(serving, tmp_path, program)
    assert found == [42, 8, {"value": 6, "factors": [2, 3]}, f"big {2**63 + 1}"]


@fastrpc.service("carts")
class Carts:
    @fastrpc.method
    async def create(self) -> int:
        fastrpc.current_call().http(status=201)
        return 7

    @fastrpc.method
    async def delete(self) -> None:
        fastrpc.current_call().http(status=204)


@needs_node
async def test_it_takes_the_statuses_that_handlers_set(tmp_path: Path) -> None:
    program = """
        const client = new Client({ base });
        return [await client.call("carts.create"), await client.call("carts.delete")];
    """
    async with described(Carts) as serving:
        assert await run(serving, tmp_path, program) == [7, None]


@needs_node
async def test_it_sends_bytes_large_integers_and_metadata(tmp_path: Path) -> None:
    program = """
        const client = new Client({ base, metadata: { tenant: "grün 100%" }, timeout: 5 });
        return await client.call("arith.data", { data: new Uint8Array([1, 2, 255]), number: 2n ** 60n });
    """
    async with described() as serving:
        found = await run(serving, tmp_path, program)
    assert found == [3, str(2**60), "grün 100%"]


@needs_node
async def test_it_sends_each_integer_around_the_largest_exact_one(tmp_path: Path) -> None:
    program = """
        const client = new Client({ base }), edge = 2n ** 53n, found = [];
        for (const number of [edge - 1n, edge, edge + 1n, -edge, -edge - 1n])
            found.push((await client.call("arith.data", { data: "", number }))[1]);
        return found;
    """
    async with described() as serving:
        found = await run(serving, tmp_path, program)
    assert [int(text) - 2**53 for text in found] == [-1, 0, 1, -(2**54), -(2**54) - 1]


@needs_node
async def test_errors_describe_the_cause(tmp_path: Path) -> None:
    program = """
        const client = new Client({ base });
        const facts = (error) => [error instanceof CallError, error.code, error.status, error.message,
            error.processed, error.details];
        const nowhere = new Client({ base: "http://127.0.0.1:1" });
        return [await client.call("arith.fail").catch(facts), await client.call("arith.none").catch(facts),
            await nowhere.call("arith.mul").catch((error) => error.code),
            await client.call("mul").catch((error) => error.name)];
    """
    async with described() as serving:
        failed, unknown, away, wrong = await run(serving, tmp_path, program)
    assert failed == [True, "NOT_FOUND", 404, "no such number", "yes", {"a": 1}]
    assert unknown[:3] == [True, "UNIMPLEMENTED", 404]
    assert (away, wrong) == ("UNAVAILABLE", "TypeError")


@needs_node
async def test_it_reads_streams_and_sends_them(tmp_path: Path) -> None:
    program = """
        const client = new Client({ base });
        const found = [];
        for await (const number of client.stream("arith.count", { limit: 4 })) found.push(number);
        return [found, await client.call("arith.total", { start: 10 }, { input: [1, 2, 3] }),
            await client.call("arith.total", {}, { input: [] })];
    """
    async with described() as serving:
        assert await run(serving, tmp_path, program) == [[0, 1, 2, 3], 16, 0]


@needs_node
@pytest.mark.parametrize("leaving", ["break;", "abort.abort();"])
async def test_leaving_a_stream_cancels_its_handler(tmp_path: Path, leaving: str) -> None:
    program = f"""
        const client = new Client({{ base }});
        const abort = new AbortController();
        try {{
            for await (const number of client.stream("arith.count", {{ limit: 101 }}, {{ signal: abort.signal }})) {{
                if (number === 100) {{ {leaving} }}
            }}
        }} catch (error) {{
            return error.name;
        }}
        return "left";
    """
    async with described() as serving:
        found = await run(serving, tmp_path, program)
        async with asyncio.timeout(20):
            await serving.service.cancelled.wait()
    assert found == ("left" if leaving == "break;" else "AbortError")


@needs_node
@pytest.mark.parametrize("ending", [b"", b"0\r\n\r\n"])
async def test_a_stream_that_is_cut_off_is_unavailable(tmp_path: Path, ending: bytes) -> None:
    """By the loss of the connection, or by a proxy that ends the answer within a line."""

    async def cut_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        part = b'{"value": 1}\n{"val'
        write_to(
            writer,
            b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n",
        )
        write_to(writer, b"%x\r\n%b\r\n%b" % (len(part), part, ending))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(cut_off, "127.0.0.1", 0) as server:
        program = f"""
            const client = new Client({{ base: "http://127.0.0.1:{server.sockets[0].getsockname()[1]}" }});
            try {{
                for await (const number of client.stream("arith.count"));
            }} catch (error) {{
                return [error instanceof CallError, error.code];
            }}
        """
        async with described() as serving:
            assert await run(serving, tmp_path, program) == [True, "UNAVAILABLE"]


@needs_node
async def test_it_shows_its_token(tmp_path: Path) -> None:
    program = """
        const body = { factors: [2, 3] };
        const client = new Client({ base, token: "s3cret" });
        return [(await client.call("arith.product", body)).value,
            await client.call("arith.product", body, { token: "wrong" }).catch((error) => error.code)];
    """
    tokens = StaticTokens({"s3cret": Identity("ada")})
    async with described(authenticate=tokens) as serving:
        assert await run(serving, tmp_path, program) == [6, "UNAUTHENTICATED"]
