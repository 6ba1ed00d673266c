"""A faulty network, with reproducible faults."""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from fastrpc.endpoint import Address
from fastrpc.errors import ConfigError, ConnectError
from fastrpc.transports.base import (
    DialOptions,
    Listener,
    ListenOptions,
    SessionFactory,
    add_transport,
    remove_transport,
    transport_for,
)

__all__ = ["FaultyTransport"]

S = TypeVar("S", bound=asyncio.BufferedProtocol)

_numbers = itertools.count(1)

_Close = Callable[[], None]


class FaultyTransport:
    """Delays, splits, cuts and drops the bytes between a client and any server.

    ::

        with FaultyTransport(seed=7) as faulty:
            async with fastrpc.Client(faulty.address("tcp://127.0.0.1:8972")) as client:
                ...

    With the same seed the n-th connection has the same faults. Bytes are neither changed nor reordered. `cut` and
    `drop` let a test choose the moment, such as the middle of a stream; `delay` may be changed at any time.

    Args:
        seed: the seed of all random faults.
        delay: the longest delay of a piece in seconds.
        split: the most bytes of a piece; written bytes arrive in pieces. None does not split them.
        cut_after: each connection is reset after a random number of bytes from 1 to this. None never resets.
        refuse: share of the attempts to connect that fail, from 0 to 1.
        drop_after: each connection becomes silent after a random number of bytes from 1 to this: further bytes are
            lost. None never drops.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        delay: float = 0.002,
        split: int | None = 512,
        cut_after: int | None = 65_536,
        refuse: float = 0.0,
        drop_after: int | None = None,
    ) -> None:
        _check("delay", delay, delay >= 0, "0 seconds or more")
        _check("split", split, split is None or split >= 1, "1 byte or more, or None")
        _check("cut_after", cut_after, cut_after is None or cut_after >= 1, "1 byte or more, or None")
        _check("refuse", refuse, 0 <= refuse <= 1, "a number from 0 to 1")
        _check("drop_after", drop_after, drop_after is None or drop_after >= 1, "1 byte or more, or None")
        #: The scheme of addresses that lead through this transport.
        self.scheme = f"faulty-{next(_numbers)}"
        self.seed = seed
        self.delay = delay
        self.split = split
        self.cut_after = cut_after
        self.refuse = refuse
        self.drop_after = drop_after
        #: The numbers of connections that were made (`connections`), that were reset (`cuts`), and that became silent
        #: (`drops`).
        self.connections = 0
        self.cuts = 0
        self.drops = 0
        self._open: set[_Between] = set()
        self._dials = 0
        self._is_entered = False

    def __enter__(self) -> Self:
        add_transport(self)
        self._is_entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_entered = False
        remove_transport(self)

    def address(self, target: str | Address) -> Address:
        """Return the address with which a client connects to `target` through this transport."""
        if not self._is_entered:
            raise RuntimeError("the addresses of a FaultyTransport hold inside `with faulty:`")
        return Address(self.scheme, path=str(Address.parse(target)))

    def cut(self) -> None:
        """Reset every open connection now."""
        for between in list(self._open):
            between.cut()

    def drop(self) -> None:
        """Make every open connection silent now: further bytes of both sides are lost without notice."""
        for between in list(self._open):
            between.fall_silent()

    async def dial(
        self, address: Address, session_factory: Callable[[], S], options: DialOptions
    ) -> tuple[asyncio.Transport, S]:
        """Connect through the transport of the target address, with the faults in between."""
        target = self._target(address)
        self._dials += 1
        if random.Random(f"{self.seed}/{self._dials}/dial").random() < self.refuse:
            raise ConnectError(
                f"cannot connect to {target}: refused by the FaultyTransport of seed {self.seed}"
            )
        faults = _Faults(self, self._dials)
        _, between = await transport_for(target).dial(
            target, lambda: _Between(faults, self._open.discard), options
        )
        self.connections += 1
        self._open.add(between)
        return between.give_to(session_factory)

    async def listen(
        self, address: Address, session_factory: SessionFactory, options: ListenOptions
    ) -> Listener:
        """Listen through the transport of the target address; faults affect only the dialling side."""
        target = self._target(address)
        return await transport_for(target).listen(target, session_factory, options)

    def _target(self, address: Address) -> Address:
        return Address.parse(address.path) if address.scheme == self.scheme else address


class _Faults:
    """The faults of one connection, drawn from the seed and its number."""

    def __init__(self, owner: FaultyTransport, number: int) -> None:
        self.owner = owner
        self.random = {
            way: random.Random(f"{owner.seed}/{number}/{way}") for way in ("sent", "received", "cut")
        }
        self._left = None if owner.cut_after is None else self.random["cut"].randint(1, owner.cut_after)
        drop = random.Random(f"{owner.seed}/{number}/drop")
        self._heard = None if owner.drop_after is None else drop.randint(1, owner.drop_after)

    def pieces_of(self, way: str, data: bytes) -> Iterable[bytes]:
        """Split written or received bytes."""
        start = 0
        while start < len(data):
            size = len(data) if self.owner.split is None else self.random[way].randint(1, self.owner.split)
            yield data[start : start + size]
            start += size

    def delay_of(self, way: str) -> float:
        return self.random[way].uniform(0.0, self.owner.delay)

    def drops(self, size: int) -> bool:
        """Count bytes. Return True if the connection has to become silent before these bytes."""
        if self._heard is None:
            return False
        self._heard -= size
        return self._heard <= 0

    def carries(self, size: int) -> bool:
        """Count bytes. Return False if the connection has to be reset before these bytes."""
        if self._left is None:
            return True
        self._left -= size
        return self._left > 0


class _Queue:
    """One direction of a connection: pieces are passed on in order, each after its delay."""

    def __init__(self, faults: _Faults, way: str, deliver: Callable[[bytes], None]) -> None:
        self.size = 0
        self._faults = faults
        self._way = way
        self._deliver = deliver
        self._pieces: deque[bytes | _Close] = deque()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self.is_held = False

    def add(self, data: bytes) -> None:
        self._pieces.extend(self._faults.pieces_of(self._way, data))
        self.size += len(data)
        self.wake()

    def then(self, close: _Close) -> None:
        """Run a function after all queued pieces were passed on."""
        self._pieces.append(close)
        self.wake()

    def clear(self) -> None:
        self._pieces.clear()
        self.size = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def wake(self) -> None:
        if self._timer is None and self._pieces and not self.is_held:
            self._timer = self._loop.call_later(self._faults.delay_of(self._way), self._next)

    def _next(self) -> None:
        self._timer = None
        if self.is_held or not self._pieces:
            return
        piece = self._pieces.popleft()
        if isinstance(piece, bytes):
            self.size -= len(piece)
            self._deliver(piece)
        else:
            piece()
        self.wake()


class _Between(asyncio.Transport, asyncio.BufferedProtocol):
    """An adapter: to the real transport it is the protocol, to the session it is the transport.

    Args:
        forget: called with this object after its connection was lost.
    """

    _READ_BYTES = 65_536
    _HIGH_WATER = 65_536

    def __init__(self, faults: _Faults, forget: "Callable[[_Between], None]") -> None:
        super().__init__()
        self._faults = faults
        self._forget = forget
        self._sent = _Queue(faults, "sent", self._send)
        self._received = _Queue(faults, "received", self._receive)
        self._block = bytearray(self._READ_BYTES)
        self._real: asyncio.Transport
        self._session: asyncio.BufferedProtocol | None = None
        self._low, self._high = self._HIGH_WATER // 4, self._HIGH_WATER
        self._is_writing_paused = False
        self._is_closing = False
        self._is_lost = False
        self._is_silent = False
        # Whether the real connection ended while this one was silent.
        self._has_ended = False

    def give_to(self, session_factory: Callable[[], S]) -> tuple[asyncio.Transport, S]:
        """Create and start the session."""
        session = session_factory()
        self._session = session
        session.connection_made(self)
        return self, session

    def cut(self) -> None:
        """Reset the connection."""
        if not self._is_closing:
            self._faults.owner.cuts += 1
            self.abort()

    def fall_silent(self) -> None:
        """Lose all bytes from now on, in both directions."""
        if not self._is_silent and not self._is_closing:
            self._faults.owner.drops += 1
            self._is_silent = True

    # The protocol of the real transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._real = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._block

    def buffer_updated(self, nbytes: int) -> None:
        self._received.add(bytes(self._block[:nbytes]))
        if self._received.size > self._HIGH_WATER:
            self._real.pause_reading()

    def eof_received(self) -> bool:
        if not self._is_silent:
            self._received.then(self._end)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self._sent.clear()
        if self._is_silent and not self._is_closing:
            self._has_ended = True
        elif exc is None and not self._is_closing:
            self._received.then(lambda: self._lose(None))
        else:
            # Pieces that wait while reading is paused are dropped as well.
            self._received.clear()
            self._lose(exc)

    def pause_writing(self) -> None:
        self._sent.is_held = True

    def resume_writing(self) -> None:
        self._sent.is_held = False
        self._sent.wake()

    # Pieces that come out of the queues

    def _send(self, piece: bytes) -> None:
        if not self._faults.carries(len(piece)):
            self.cut()
            return
        if self._is_heard(piece):
            self._real.write(piece)
        if self._is_writing_paused and self._sent.size <= self._low and self._session is not None:
            self._is_writing_paused = False
            self._session.resume_writing()

    def _is_heard(self, piece: bytes) -> bool:
        """Return whether a piece arrives. A piece of a silent connection is lost."""
        if not self._is_silent and self._faults.drops(len(piece)):
            self.fall_silent()
        return not self._is_silent

    def _receive(self, piece: bytes) -> None:
        if not self._faults.carries(len(piece)):
            self.cut()
            return
        rest = memoryview(piece if self._is_heard(piece) else b"")
        while rest and self._session is not None and not self._is_closing:
            with memoryview(self._session.get_buffer(len(rest))) as place:
                size = min(len(rest), len(place))
                place[:size] = rest[:size]
            self._session.buffer_updated(size)
            rest = rest[size:]
        if self._received.size <= self._HIGH_WATER and not self._real.is_closing():
            self._real.resume_reading()

    def _end(self) -> None:
        if self._session is not None and not self._is_closing and not self._session.eof_received():
            self.close()

    def _lose(self, error: Exception | None) -> None:
        if self._is_lost:
            return
        self._is_lost = self._is_closing = True
        self._forget(self)
        self._sent.clear()
        self._received.clear()
        session, self._session = self._session, None
        if session is not None:
            session.connection_lost(error)

    # The transport of the session

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_closing:
            return
        self._sent.add(bytes(data))
        if self._sent.size > self._high and not self._is_writing_paused and self._session is not None:
            self._is_writing_paused = True
            self._session.pause_writing()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        self._sent.then(self._real.write_eof)

    def can_write_eof(self) -> bool:
        return self._real.can_write_eof()

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._received.clear()
            self._sent.then(self._real.close)
            self._end_silence()

    def abort(self) -> None:
        self._is_closing = True
        self._sent.clear()
        self._received.clear()
        self._real.abort()
        self._end_silence()

    def _end_silence(self) -> None:
        """Report to the session the end of the real connection that was held back while the connection was silent."""
        if self._has_ended:
            asyncio.get_running_loop().call_soon(self._lose, None)

    def is_closing(self) -> bool:
        return self._is_closing

    def is_reading(self) -> bool:
        return not self._received.is_held and not self._is_closing

    def pause_reading(self) -> None:
        self._received.is_held = True

    def resume_reading(self) -> None:
        self._received.is_held = False
        self._received.wake()

    def get_write_buffer_size(self) -> int:
        return self._sent.size + self._real.get_write_buffer_size()

    def get_write_buffer_limits(self) -> tuple[int, int]:
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = self._HIGH_WATER if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._real.get_extra_info(name, default)

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._session = cast(asyncio.BufferedProtocol, protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return cast(asyncio.BaseProtocol, self._session)


def _check(name: str, value: object, holds: bool, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"FaultyTransport: {name} is {value!r}, it must be {allowed}")
