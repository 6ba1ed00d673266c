"""The services that the files of this folder call: every kind of method and of contract."""

import abc
import functools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Concatenate, Generic, ParamSpec, Protocol, TypeVar

import fastrpc

P = ParamSpec("P")
K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")
S = TypeVar("S")


@dataclass
class User:
    id: int
    name: str


def traced(function: Callable[Concatenate[S, P], Awaitable[T]]) -> Callable[Concatenate[S, P], Awaitable[T]]:
    """A decorator as libraries have it: its result is not a coroutine function to a type checker."""

    @functools.wraps(function)
    async def run(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await function(self, *args, **kwargs)

    return run


# Services of all kinds.


@fastrpc.service("arith", version="1.4")
class Arith:
    def __init__(self, offset: int = 0) -> None:
        self.offset = offset

    @fastrpc.method
    async def mul(self, a: int, b: int) -> int:
        return a * b + self.offset

    @fastrpc.method("sum", idempotent=True, timeout=2.5)
    async def add(self, a: int, b: int = 0, *, scale: float = 1.0) -> float:
        return (a + b) * scale

    @fastrpc.method()
    async def ping(self) -> None: ...

    @fastrpc.method
    async def split(self, a: int, b: int) -> tuple[int, str | None]:
        return a // b, None

    @traced
    @fastrpc.method
    async def slow(self, seconds: float) -> str:
        return f"{seconds}"

    @fastrpc.method
    async def named(self, method: str, messages: int, *, arguments: bool) -> str:
        return f"{method} {messages} {arguments}"

    @fastrpc.method
    async def same(self, value: T) -> T:
        return value

    @fastrpc.method(codec="raw")
    async def echo(self, payload: bytes) -> bytes:
        return payload


@fastrpc.service("clock")
class Clock:
    @fastrpc.method(inline=True)
    def now(self) -> datetime:
        return datetime.now().astimezone()

    @fastrpc.method
    def at(self, year: int, month: int = 1) -> datetime:
        return datetime(year, month, 1).astimezone()

    @fastrpc.method(idempotent=True)
    def zone(self, name: str | None = None) -> str | None:
        return name


@fastrpc.service("feed")
class Feed:
    @fastrpc.method
    async def count(self, limit: int) -> AsyncIterator[int]:
        for number in range(limit):
            yield number

    @fastrpc.method
    def lines(self, path: str) -> Iterator[str]:
        yield path

    @fastrpc.method
    async def total(self, numbers: AsyncIterator[int]) -> int:
        return sum([number async for number in numbers])

    @fastrpc.method
    async def chat(self, messages: AsyncIterator[str], room: str) -> AsyncIterator[bytes]:
        async for message in messages:
            yield f"{room} {message}".encode()


class Table(Generic[K, V]):
    def __init__(self) -> None:
        self.rows: dict[K, V] = {}

    @fastrpc.method
    async def get(self, key: K) -> V | None:
        return self.rows.get(key)

    @fastrpc.method
    async def put(self, key: K, value: V) -> None:
        self.rows[key] = value


@fastrpc.service("users.table")
class UserTable(Table[str, User]): ...


@fastrpc.service("photos")
class Photos:
    @fastrpc.method
    async def put(self, photo: fastrpc.Upload, album: str) -> int:
        return len(album) + sum([len(piece) async for piece in photo])

    @fastrpc.method
    async def parts(self, photo: fastrpc.Upload, album: str) -> AsyncIterator[str]:
        async for piece in photo:
            yield f"{album} {photo.filename} {photo.content_type} {len(piece)}"


# Contracts: a Protocol or an ABC, and its implementation.


@fastrpc.service("users")
class Users(Protocol):
    @fastrpc.method
    async def get(self, id: int) -> User: ...

    @fastrpc.method
    async def find(self, name: str, limit: int = 10) -> list[User]: ...

    @fastrpc.method
    def watch(self, id: int) -> AsyncIterator[User]: ...


class StoredUsers(Users):
    async def get(self, id: int) -> User:
        return User(id, "ada")

    async def find(self, name: str, limit: int = 10) -> list[User]:
        return [User(1, name)][:limit]

    async def watch(self, id: int) -> AsyncIterator[User]:
        yield User(id, "ada")


@fastrpc.service("files")
class Files(abc.ABC):
    @fastrpc.method
    @abc.abstractmethod
    async def size(self, path: str) -> int: ...

    @fastrpc.method
    @abc.abstractmethod
    def read(self, path: str) -> AsyncIterator[bytes]: ...


@fastrpc.function("math.mul", idempotent=True)
async def mul(a: int, b: int = 1) -> int:
    return a * b


@fastrpc.function("math.name", inline=True)
def name_of(user: User) -> str:
    return user.name


@fastrpc.function("math.count")
async def count(limit: int) -> AsyncIterator[int]:
    for n in range(limit):
        yield n


@fastrpc.service("clock", implements=Clock)
class StoppedClock:
    def now(self) -> datetime:
        return datetime.fromtimestamp(0).astimezone()

    def at(self, year: int, month: int = 1) -> datetime:
        return datetime(year, month, 1).astimezone()

    def zone(self, name: str | None = None) -> str | None:
        return name


# A contract in plain `def`, for typed proxies of a SyncClient, and a service that is asynchronous.


@fastrpc.service("prices")
class Prices(Protocol):
    @fastrpc.method
    def price(self, item: str, *, currency: str = "EUR") -> int: ...

    @fastrpc.method
    def items(self) -> list[str]: ...


@fastrpc.service("prices", implements=Prices)
class PricesFromStore:
    async def price(self, item: str, *, currency: str = "EUR") -> int:
        return len(item)

    async def items(self) -> list[str]:
        return ["tea"]
