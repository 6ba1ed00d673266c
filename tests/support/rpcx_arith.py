"""The service of the recorded connections of rpcx, in Python."""

import asyncio
from typing import Any

import msgspec
from google.protobuf.wrappers_pb2 import StringValue

import fastrpc
from fastrpc import current_call
from fastrpc.errors import CallError
from fastrpc.status import Status

__all__ = ["Args", "Arith", "Fn", "Reply", "WITH_TOKEN"]


class Args(msgspec.Struct):
    A: int = 0
    B: int = 0


class Reply(msgspec.Struct):
    C: int = 0


class RepeatArgs(msgspec.Struct):
    S: str = ""
    N: int = 0


#: The error of `Fail`: Go sends the text of an error unchanged.
_BOOM = (Status.UNKNOWN, "boom")


@fastrpc.service("Arith")
class Arith:
    def __init__(self) -> None:
        self.notes: list[str] = []

    @fastrpc.method
    async def Mul(self, args: Args) -> Reply:
        return Reply(args.A * args.B)

    @fastrpc.method
    async def Echo(self, text: str) -> str:
        return text

    @fastrpc.method
    async def EchoBytes(self, data: bytes) -> bytes:
        return data

    @fastrpc.method
    async def EchoPB(self, message: StringValue) -> StringValue:
        return message

    @fastrpc.method
    async def Keep(self, value: dict[str, Any]) -> dict[str, Any]:
        return value

    @fastrpc.method
    async def KeepWidths(self, value: dict[str, Any]) -> dict[str, Any]:
        return value

    @fastrpc.method
    async def KeepDerived(self, value: dict[str, Any]) -> dict[str, Any]:
        return value

    @fastrpc.method
    async def Length(self, text: str) -> int:
        return len(text.encode())

    @fastrpc.method
    async def Repeat(self, args: RepeatArgs) -> str:
        return args.S * args.N

    @fastrpc.method
    async def First1024(self, data: bytes) -> bytes:
        return data[:1024]

    @fastrpc.method
    async def Sleep(self, milliseconds: int) -> int:
        await asyncio.sleep(milliseconds / 1000)
        return milliseconds

    @fastrpc.method
    async def Fail(self, args: Args) -> Reply:
        raise CallError(*_BOOM)

    @fastrpc.method
    async def Panic(self, args: Args) -> Reply:
        raise RuntimeError("a panic")

    @fastrpc.method
    async def Note(self, text: str) -> None:
        self.notes.append(text)

    @fastrpc.method
    async def Notes(self) -> list[str]:
        return self.notes

    @fastrpc.method
    async def HasDeadline(self) -> bool:
        remaining = current_call().remaining()
        return remaining is not None and remaining < 4

    @fastrpc.method
    async def Meta(self, args: Args) -> Reply:
        call = current_call()
        for key, value in call.metadata.items():
            call.reply_metadata[f"echo-{key}"] = value
        call.reply_metadata["server"] = "here"
        return Reply(args.A * args.B)

    @fastrpc.method
    async def SeesMeta(self, key: str) -> str:
        return current_call().metadata.get(key, "")

    @fastrpc.method
    async def MetaFail(self, args: Args) -> Reply:
        current_call().reply_metadata["retry"] = "no"
        raise CallError(Status.UNKNOWN, "with metadata")


@fastrpc.service("Fn")
class Fn:
    @fastrpc.method
    async def fail(self, args: Args) -> Reply:
        raise CallError(Status.UNKNOWN, "function failed")


#: Recorded connections whose server asks for the token `secret`.
WITH_TOKEN = frozenset({"auth_good", "auth_bad", "auth_bad_oneway"})
