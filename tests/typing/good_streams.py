"""The knowledge of type checkers about streams, calls to clients and files. Checked, and never called."""

# pyright: reportMissingModuleSource=false

from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any, assert_type

import fastrpc
from fastrpc.files import FileDigest, FileInfo, FileService, download, upload
from tests.typing.services import Arith, Feed, Photos, User, Users


async def streams(client: fastrpc.Client) -> None:
    async with client.stream(Feed.count, 3) as numbers:
        assert_type(numbers, fastrpc.Stream[Any, int])
        async for number in numbers:
            assert_type(number, int)
    async with client.stream(Feed.lines, path="a") as lines:
        assert_type([line async for line in lines], list[str])
    async with client.stream(Users.watch, 1) as changes:
        assert_type(await changes.receive(), User)
    assert_type(client.stream("feed.count", 3), fastrpc.Stream[Any, Any])
    async with client.open(Feed.chat, "lobby") as chat:
        assert_type(chat, fastrpc.Stream[str, bytes])
        await chat.send("hello")
        await chat.send_many(["hello", "there"])
        assert_type(await chat.receive_many(), list[bytes])
        await chat.end()
    async with client.open(Feed.total) as total:
        await total.send(1)
        assert_type(total.reply.value, int)
    assert_type(client.open("feed.chat", "lobby"), fastrpc.Stream[Any, Any])


async def words() -> AsyncGenerator[str, None]:
    yield "hello"


async def streamed_arguments(client: fastrpc.Client, counts: AsyncIterator[int]) -> None:
    assert_type(await client.call(Feed.total, counts), int)
    assert_type(await client.call(Feed.total, numbers=counts), int)
    assert_type(await client.request(Feed.total, counts), fastrpc.Reply[int])
    async with client.stream(Feed.chat, words(), room="lobby") as chat:
        assert_type(chat, fastrpc.Stream[Any, bytes])
        async for answer in chat:
            assert_type(answer, bytes)


async def pieces() -> AsyncGenerator[bytes, None]:
    yield b"a"


async def uploads(client: fastrpc.Client, blocking: fastrpc.SyncClient) -> None:
    assert_type(await client.call(Photos.put, pieces(), "a"), int)
    assert_type(await client.call(Photos.put, [b"a"], album="a"), int)
    assert_type(await client.call(Photos.put, fastrpc.Upload(pieces(), filename="b"), "a"), int)
    assert_type(await client.request(Photos.put, pieces(), "a"), fastrpc.Reply[int])
    assert_type(client.stream(Photos.parts, pieces(), "a"), fastrpc.Stream[Any, str])
    assert_type(client.open(Photos.put, "a"), fastrpc.Stream[bytes, int])
    assert_type(client.open(Photos.parts, "a"), fastrpc.Stream[bytes, str])
    assert_type(await client.bind(Photos).put(fastrpc.Upload(pieces()), "a"), int)
    assert_type(blocking.call(Photos.put, [b"a"], "a"), int)
    assert_type(blocking.request(Photos.put, [b"a"], album="a"), fastrpc.Reply[int])
    assert_type(blocking.stream(Photos.parts, [b"a"], "a"), fastrpc.SyncStream[bytes, str])
    assert_type(blocking.open(Photos.put, "a"), fastrpc.SyncStream[bytes, int])
    assert_type(blocking.open(Photos.parts, "a"), fastrpc.SyncStream[bytes, str])


async def messages_of_a_stream(stream: fastrpc.Stream[str, bytes]) -> None:
    messages: AsyncIterator[bytes] = stream
    assert_type([len(message) async for message in messages], list[int])
    assert_type(await stream.receive_many(16), list[bytes])
    assert_type(stream.metadata, fastrpc.Metadata)
    assert_type(stream.reply, fastrpc.Reply[bytes])
    assert_type(await stream.headers(), fastrpc.Metadata)
    stream.cancel()
    await stream.aclose()
    await stream.close()


async def calls_to_a_client(server: fastrpc.Server) -> None:
    for peer in server.peers():
        assert_type(peer, fastrpc.Peer)
        assert_type(peer.id, str | None)
        client = peer.client
        if client is None:
            continue
        assert_type(client, fastrpc.PeerClient)
        assert_type(await client.call(Feed.total, aiter(client.stream(Feed.count, 3))), int)
        assert_type(await client.call_many(Arith.mul, [(1, 2)]), list[int])
        assert_type(client.open(Feed.chat, "lobby"), fastrpc.Stream[str, bytes])
        assert_type(client.bind(Feed), Feed)
        assert_type(client.with_options(timeout=1), fastrpc.PeerClient)
        assert_type(client.is_closed, bool)
        await client.wait_closed()


async def files_of_a_server(client: fastrpc.Client) -> None:
    assert_type(await download(client, "a", Path("b"), resume=False), FileDigest)
    assert_type(await upload(client, "b", "a", service="shop.files", progress=print), FileDigest)
    assert_type(await client.call(FileService.stat, "a"), FileInfo)
    async with client.stream(FileService.list) as entries:
        assert_type([(entry.path, entry.size) async for entry in entries], list[tuple[str, int]])
    async with client.stream(FileService.read, "a", offset=3) as pieces:
        assert_type(await pieces.receive(), bytes)


async def a_proxys_streams(client: fastrpc.Client) -> None:
    feed = client.bind(Feed)
    async for number in feed.count(3):
        assert_type(number, int)
    async for answer in feed.chat(words(), "lobby"):
        assert_type(answer, bytes)
    assert_type(await feed.total(aiter(feed.count(3))), int)


def blocking_streams(client: fastrpc.SyncClient) -> None:
    with client.stream(Feed.count, 3) as numbers:
        assert_type(numbers, fastrpc.SyncStream[Any, int])
        assert_type(list(numbers), list[int])
    assert_type(client.stream(Feed.lines, "a"), fastrpc.SyncStream[Any, str])
    assert_type(client.stream(Feed.chat, ["hello"], "lobby"), fastrpc.SyncStream[str, bytes])
    assert_type(client.open(Feed.chat, "lobby"), fastrpc.SyncStream[str, bytes])
    assert_type(client.open(Feed.total), fastrpc.SyncStream[int, int])
    assert_type(client.stream("feed.count", 3), fastrpc.SyncStream[Any, Any])
    with client.stream(Feed.lines, path="a") as lines:
        assert_type(lines.headers(), fastrpc.Metadata)
        assert_type(list(lines), list[str])
        lines.close()
    with client.open(Feed.total) as total:
        total.send(1)
        assert_type(total.reply, fastrpc.Reply[int])
    with client.open(Feed.chat, "lobby") as chat:
        chat.send("hello")
        chat.send_many(("hello", "there"))
        chat.end()
        assert_type(chat.receive_many(16), list[bytes])
        assert_type(chat.receive(), bytes)
        assert_type(chat.receive_many(), list[bytes])
        assert_type(chat.reply.value, bytes)
