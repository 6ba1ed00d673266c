"""The arguments, the report and the exit codes of `serve`, as plain values."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from fastrpc.config import ServerConfig
from fastrpc.endpoint import Address, names_scopes, scopes_among
from fastrpc.errors import ConfigError, FastRPCError
from fastrpc.limits import Limit
from fastrpc.place import Place
from fastrpc.rpc.interceptor import Interceptor
from fastrpc.workers.wanted import WantedSocket

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from fastrpc._core.limiting.limiters import RateLimiter
    from fastrpc.registries.base.registry import RegistryOption
    from fastrpc.server.registrar import Advertise
    from fastrpc.server.server import Server
    from fastrpc.server.watching import Ended

__all__ = [
    "DEFAULT_ADDRESS",
    "ExitCode",
    "NothingToServeError",
    "Plan",
    "Started",
    "failure_to_values",
    "values_to_failure",
]

DEFAULT_ADDRESS = "tcp://127.0.0.1:8972"

#: The schemes of stores and brokers that are inside one process.
_OF_ONE_PROCESS = frozenset({"memory", "sqlite"})


class ExitCode(IntEnum):
    """The exit codes of programs that serve or call."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_STARTED = 3
    DRAIN_TIMED_OUT = 4
    INTERRUPTED = 130


class NothingToServeError(ConfigError):
    """The sources of a program contain no service. This is a usage error: exit code 2."""

    def __init__(self) -> None:
        super().__init__(
            "there is no service to serve",
            hint="give a class under @fastrpc.service, an instance of one, or a list of them",
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Started:
    """The report that is made when every process serves."""

    #: Targets for a client, with real ports.
    addresses: tuple[str, ...]
    #: Method names of each service.
    services: dict[str, list[str]]
    #: The module of the event loop.
    loop: str
    process_ids: tuple[int, ...]
    #: The version of each service that declares one.
    versions: dict[str, str] = field(default_factory=dict)
    #: For each service with such methods, the names of methods that the server starts by itself.
    background: dict[str, list[str]] = field(default_factory=dict)
    #: Sentences about settings that were not given but derived from others.
    inferred: tuple[str, ...] = ()
    #: The addresses in each scope of `any://`; empty without `any://`.
    scopes: dict[str, list[str]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The services to serve, and their addresses."""

    #: Returns the sources of services, or an App; called once, before a loop runs and before workers are forked.
    load: Callable[[], Sequence[Any]]
    addresses: tuple[Address, ...]
    workers: int = 1
    config: ServerConfig = field(default_factory=ServerConfig)
    interceptors: tuple[Interceptor, ...] = ()
    authenticate: Any = None
    authorize: Any = None
    #: From the command line. `outermost`: interceptors around the program's interceptors. `foremost`: sources opened
    #: before the program's.
    outermost: tuple[Interceptor, ...] = ()
    foremost: tuple[Any, ...] = ()
    #: From the command line: returns a context manager that is entered after the server of a process has started, and
    #: exited after its connections are closed, before the sources.
    beside: "Callable[[Server], AbstractAsyncContextManager[Any]] | None" = None
    #: Called after each reload of the server, on its loop.
    on_reload: Callable[[], None] = lambda: None
    limits: tuple[Limit, ...] = ()
    #: The limiters that count the calls of each rate limit for all workers; empty with one process.
    shared_limits: "tuple[RateLimiter | None, ...]" = ()
    #: Whether `load` already returns the loaded sources.
    is_loaded: bool = False
    #: Whether the sources must contain a service unless an application is mounted. A gateway and a registry need none.
    needs_service: bool = False
    #: Applies the command line to the settings of an App; None without a command line.
    configure: Callable[[ServerConfig], ServerConfig] | None = None
    #: Not shown, because the URL may contain a token.
    registry: "RegistryOption | None" = field(default=None, repr=False)
    #: Whether to use the registry of an App. Workers leave it to the announcer, and a development server registers
    #: nothing.
    registers: bool = True
    #: `store`, `broker`: opened by each process. They are not shown, because they may name a file of secrets.
    store: str | None = field(default=None, repr=False)
    broker: str | None = field(default=None, repr=False)
    #: The advertised addresses, in the order of the addresses other than `any://`. If empty, the bound addresses are
    #: advertised.
    advertise: "tuple[Advertise, ...]" = ()
    #: The sockets for the addresses; empty until several processes are about to start.
    wanted: tuple[WantedSocket, ...] = ()
    #: Where the program runs; None: read from the environment.
    place: Place | None = None
    #: The fields of the place that the command line states, which override `place`.
    placed: Mapping[str, Any] = field(default_factory=dict)
    #: With several workers, the seconds without a heartbeat of a worker's event loop until the worker is killed; None:
    #: never.
    worker_timeout: float | None = 60.0
    #: With several workers, the number of calls (± 10 %) after which a worker is replaced; None: never.
    max_calls: int | None = None
    #: `control`: the control socket through which another program can take over from this program. `takeover`: whether
    #: this program takes over through it.
    control: Address | None = None
    takeover: bool = False
    #: From the command line: sentences about settings that were not given but derived from others.
    inferred: tuple[str, ...] = ()
    #: Called when every process serves.
    on_started: Callable[[Started], None] | None = None
    #: Called at the end of each request and call, in the process that serves it; None in most programs.
    on_ended: Callable[["Ended"], None] | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.workers, int) or isinstance(self.workers, bool) or self.workers < 1:
            raise ConfigError(f"workers is {self.workers!r}, it must be a whole number from 1")
        if self.max_calls is not None and (self.max_calls < 1 or self.workers == 1):
            raise ConfigError(
                f"max_calls is {self.max_calls}, and workers is {self.workers}: it replaces one of several workers",
                hint="give a number from 1, and at least 2 workers",
            )
        self._check_shared("store", self.store, "store://host:port")
        self._check_shared("broker", self.broker, "broker://host:port")
        if self.worker_timeout is not None and not 1 <= self.worker_timeout <= 86_400:
            raise ConfigError(
                f"worker_timeout is {self.worker_timeout!r}, it must be between 1 and 86400 seconds, or None"
            )
        if self.takeover and self.control is None:
            raise ConfigError(
                "--takeover is given without --control",
                hint="give the control socket of the program to replace",
            )
        if not self.addresses:
            raise ConfigError("the list of addresses is empty", hint="give at least one to listen at")
        scopes_among(self.addresses)
        placed = [address for address in self.addresses if not names_scopes(address)]
        if len(self.advertise) > len(placed):
            raise ConfigError(
                f"advertise has {len(self.advertise)} addresses, the server listens at {len(placed)}",
                hint="give one for each, in the same order",
            )

    def _check_shared(self, name: str, url: str | None, shared: str) -> None:
        """Refuse a store or a broker that is inside one process if there are several workers."""
        scheme = (url or "").partition("://")[0].lower()
        if self.workers > 1 and scheme in _OF_ONE_PROCESS:
            raise ConfigError(
                f"the {name} is {scheme}://, which one process holds, and workers is {self.workers}",
                hint=f"use {shared}, which fastrpc {name} serves, or one worker",
            )

    def advertised(self) -> "list[Advertise]":
        """Return the advertised address for each address to listen at except `any://`."""
        rest: Advertise = False if self.advertise else None
        given = iter(self.advertise)
        return [None if names_scopes(address) else next(given, rest) for address in self.addresses]


def failure_to_values(error: BaseException) -> dict[str, Any]:
    """Return an error as plain values for another process."""
    values: dict[str, Any] = {
        "kind": type(error).__name__,
        "text": str(error),
        "traceback": _traceback_of(error),
    }
    if isinstance(error, NothingToServeError):
        values["is_empty"] = True
    elif isinstance(error, ConfigError):
        values |= {"config": error.message, "hint": error.hint}
    elif isinstance(error, FastRPCError):
        values["text"] = str(error)
    elif isinstance(error, OSError) and error.errno is not None:
        values |= {"errno": error.errno, "text": error.strerror}
    return values


def _traceback_of(error: BaseException) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except OSError as second:
        # CPython 3.15 imports the module that formats tracebacks on first use, when there may be no descriptor left.
        return f"(no traceback: {second})"


def values_to_failure(values: dict[str, Any]) -> Exception:
    """Return the error that another process described, with its traceback as a note."""
    error: Exception
    if "is_empty" in values:
        error = NothingToServeError()
    elif "config" in values:
        error = ConfigError(values["config"], hint=values["hint"])
    elif "errno" in values:
        error = OSError(values["errno"], values["text"])
    else:
        error = RuntimeError(f"{values['kind']}: {values['text']}" if values["text"] else values["kind"])
    error.add_note(f"In a worker process:\n{values['traceback']}")
    return error
