"""Apache Thrift with its accelerated protocol: a thread and a connection per caller.

Its compiler is in no Python package, so its output for `bench.thrift` (as by `thrift --gen py:dynamic`) is written here
by hand: the same specifications for the same compiled encoder.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thrift.protocol.TBase import TBase
from thrift.protocol.TBinaryProtocol import TBinaryProtocolAccelerated, TBinaryProtocolAcceleratedFactory
from thrift.server.TServer import TThreadedServer
from thrift.Thrift import TApplicationException, TMessageType, TProcessor, TType
from thrift.transport.TSocket import TServerSocket, TSocket
from thrift.transport.TTransport import TBufferedTransport, TBufferedTransportFactory

from bench.compare.load import BlockingOperation
from bench.compare.peers.base import BACKLOG, BlockingClient, BlockingServer, Peer
from bench.compare.workloads import RECORD_ID, RECORD_NAME, RECORD_SCORE, Workload, plain_record

_BYTES = (TType.STRING, "BINARY")
_INTEGER = (TType.I64, None)


class Record(TBase):  # type: ignore[misc]
    """The struct of that name."""

    thrift_spec = (
        None,
        (1, TType.I64, "id", None, None),
        (2, TType.STRING, "name", "UTF8", None),
        (3, TType.DOUBLE, "score", None, None),
        (4, TType.LIST, "tags", (TType.STRING, "UTF8", False), None),
    )

    def __init__(self, id: Any = None, name: Any = None, score: Any = None, tags: Any = None) -> None:
        self.id = id
        self.name = name
        self.score = score
        self.tags = tags


def _arguments_of(*fields: tuple[str, tuple[int, Any]]) -> Any:
    """Make the struct that carries a method's arguments."""
    names = [name for name, _ in fields]

    def set_fields(self: Any, *values: Any) -> None:
        for name, value in zip(names, values, strict=False):
            setattr(self, name, value)

    specification = (
        None,
        *((place, kind, name, detail, None) for place, (name, (kind, detail)) in enumerate(fields, 1)),
    )
    return type("Arguments", (TBase,), {"thrift_spec": specification, "__init__": set_fields})


def _result_of(kind: tuple[int, Any]) -> Any:
    """Make the struct that carries a method's result."""
    specification = ((0, kind[0], "success", kind[1], None),)
    return type("Result", (TBase,), {"thrift_spec": specification, "success": None})


_RECORD = (TType.STRUCT, [Record, Record.thrift_spec])
_METHODS = {
    "echo": (_arguments_of(("payload", _BYTES)), _result_of(_BYTES)),
    "mul": (_arguments_of(("a", _INTEGER), ("b", _INTEGER)), _result_of(_INTEGER)),
    "record": (_arguments_of(("record", _RECORD)), _result_of(_RECORD)),
}


class Client:
    """Calls over one connection, one after the other."""

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def call(self, name: str, *values: Any) -> Any:
        """Send a call and wait for its result."""
        protocol = self._protocol
        new_arguments, new_result = _METHODS[name]
        protocol.writeMessageBegin(name, TMessageType.CALL, 0)
        new_arguments(*values).write(protocol)
        protocol.writeMessageEnd()
        protocol.trans.flush()
        _, kind, _ = protocol.readMessageBegin()
        if kind == TMessageType.EXCEPTION:
            failure = TApplicationException()
            failure.read(protocol)
            raise failure
        result = new_result()
        result.read(protocol)
        protocol.readMessageEnd()
        return result.success


class Processor(TProcessor):  # type: ignore[misc]
    """Runs the handlers: echo, mul and record."""

    def __init__(self) -> None:
        self._handlers: dict[str, Callable[[Any], Any]] = {
            "echo": lambda arguments: arguments.payload,
            "mul": lambda arguments: arguments.a * arguments.b,
            "record": lambda arguments: arguments.record,
        }

    def process(self, iprot: Any, oprot: Any) -> bool:
        name, _, sequence = iprot.readMessageBegin()
        new_arguments, new_result = _METHODS[name]
        arguments = new_arguments()
        arguments.read(iprot)
        iprot.readMessageEnd()
        result = new_result()
        result.success = self._handlers[name](arguments)
        oprot.writeMessageBegin(name, TMessageType.REPLY, sequence)
        result.write(oprot)
        oprot.writeMessageEnd()
        oprot.trans.flush()
        return True


def build_record() -> Record:
    """Build the workloads' record, from nothing."""
    return Record(
        id=RECORD_ID,
        name=RECORD_NAME,
        score=RECORD_SCORE,
        tags=["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel"],
    )


class ApacheThrift(BlockingServer, BlockingClient):
    """The threaded server; the client carries one call at a time."""

    @contextmanager
    def serving(self, directory: Path, workload: Workload) -> Iterator[str]:
        listener = TServerSocket("127.0.0.1", 0)
        listener.setBacklog(BACKLOG)
        listener.listen()
        port = listener.handle.getsockname()[1]
        # `serve` would listen once more, on a port that no client knows.
        listener.listen = lambda: None
        factories = TBufferedTransportFactory(), TBinaryProtocolAcceleratedFactory()
        server = TThreadedServer(Processor(), listener, *factories, daemon=True)
        threading.Thread(target=server.serve, daemon=True).start()
        yield f"127.0.0.1:{port}"

    @contextmanager
    def connected(self, address: str, workload: Workload) -> Iterator[Callable[[], BlockingOperation]]:
        host, _, port = address.partition(":")

        def connect() -> BlockingOperation:
            transport = TBufferedTransport(TSocket(host, int(port)))
            transport.open()
            return _operation(Client(TBinaryProtocolAccelerated(transport)), workload)

        yield connect


def _operation(client: Client, workload: Workload) -> BlockingOperation:
    call = client.call
    if workload.operation == "echo":
        payload = workload.payload
        return BlockingOperation(lambda: call("echo", payload))
    if workload.operation == "mul":
        return BlockingOperation(lambda: call("mul", 6, 7))
    return BlockingOperation(lambda: call("record", build_record()), plain_record)


PEERS: tuple[Peer, ...] = (ApacheThrift("apache_thrift", "Apache Thrift, threads", family="Apache Thrift"),)
