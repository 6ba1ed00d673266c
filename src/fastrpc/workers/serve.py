"""`serve`: serve in the foreground until a signal arrives."""

import asyncio
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from fastrpc.config import ServerConfig
from fastrpc.config_errors import ShownAtProgram
from fastrpc.endpoint import Address, Endpoint, scopes_among
from fastrpc.errors import ConfigError
from fastrpc.handlers.auth.access_options import (
    Authenticate,
    Authorize,
    checked_authenticate,
    checked_authorize,
)
from fastrpc.limits import Limit, checked_limits
from fastrpc.place import Place, checked_place
from fastrpc.rpc.interceptor import Interceptor, checked_interceptors
from fastrpc.rpc.refused_arguments import explain_arguments
from fastrpc.server.server import Server
from fastrpc.workers import init
from fastrpc.workers.app import loaded
from fastrpc.workers.log_fallback import fallback_logging
from fastrpc.workers.plan import DEFAULT_ADDRESS, ExitCode, NothingToServeError, Plan, Started
from fastrpc.workers.process import RELOAD_SIGNALS, STOP_SIGNALS, ServingProcess, leave, signals_handled
from fastrpc.workers.systemd import Systemd

if TYPE_CHECKING:
    from fastrpc.registries.base.registry import RegistryOption
    from fastrpc.server.registrar import Advertise

__all__ = ["addresses_of", "run", "serve"]

_DEFAULT_CONFIG = ServerConfig()

logger = logging.getLogger("fastrpc.server")

#: Seconds for threads to end by themselves before the process ends without waiting for them.
THREAD_SECONDS = 0.2

#: Whether a plan runs in this process. If the served module itself calls `serve` on import, the call raises a clear
#: error.
_is_running = False


@explain_arguments("serve")
def serve(
    *sources: Any,
    address: str | Address | Sequence[str | Address] = DEFAULT_ADDRESS,
    workers: int = 1,
    registry: "RegistryOption | None" = None,
    advertise: "Advertise | Sequence[Advertise]" = None,
    config: ServerConfig | None = None,
    interceptors: Sequence[Interceptor] = (),
    authenticate: Authenticate | None = None,
    authorize: Authorize | None = None,
    limits: Sequence[Limit] = (),
    place: Place | None = None,
    store: str | None = None,
    broker: str | None = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C, then drain and return. A second signal quits immediately.

    It uses uvloop if installed. Unless the program configures logging, warnings and errors, such as the traceback of a
    failed handler, are written to standard error. At a terminal it prints one line, with addresses and protocols, when
    it serves.

    Args:
        sources: instances of classes under `@service`, classes or functions without arguments that make them, lists of
            these, or functions marked `@contextlib.asynccontextmanager` that yield a list. Classes and functions are
            called once in each worker, on its loop. Alternatively one `App`, or a function that returns an App, with
            its own interceptors, limits and config.
        address: one address to listen at, or several.
        workers: the number of processes that share the connections. A worker that dies is restarted.
        registry: the registry for every service: a URL, an object of `fastrpc.registries` that was not used yet, or a
            list of these. All workers share one registration.
        advertise: the address to register in place of `address`, see `Server.listen`. For several addresses, give a
            list in their order; addresses beyond the end of the list are not registered.
        config: the settings, see `fastrpc.config`; None: the defaults.
        interceptors: functions around every call, the first outermost.
        authenticate, authorize: identify callers and decide on their calls; see `Server`.
        limits: how much callers may ask for, see `fastrpc.limits`.
        place: the place where the program runs, for its records in the registry; None: read from the environment.
        store: the URL of a store for scheduled methods, see `Server`; each worker opens it.
        broker: the URL of a broker for subscribers, see `Server`; each worker opens it.

    Raises:
        OSError: an address is unavailable; the message names it.
        ConfigError: a source or a setting is invalid.
        RuntimeError: `serve` was called outside the main thread or inside a loop, or a worker process could not start.
        SystemExit: 2 if the sources contain no service (this is logged); 4 if calls were cancelled because they took
            longer than `Timeouts.drain`; 130 if a second signal cancelled them.
    """
    with ShownAtProgram():
        plan = Plan(
            load=lambda: sources,
            addresses=addresses_of(address),
            workers=workers,
            config=_DEFAULT_CONFIG if config is None else config,
            needs_service=True,
            interceptors=checked_interceptors(interceptors),
            authenticate=checked_authenticate(authenticate),
            authorize=checked_authorize(authorize),
            limits=checked_limits(limits, has_identities=authenticate is not None),
            registry=registry,
            advertise=_several(advertise),
            place=None if place is None else checked_place(place),
            store=store,
            broker=broker,
        )
        with fallback_logging():
            try:
                code = _run_told(plan)
            except NothingToServeError as error:
                logger.error("%s", error)
                code = ExitCode.USAGE
    if code is not ExitCode.DONE:
        raise SystemExit(int(code))


def _run_told(plan: Plan) -> ExitCode:
    """Serve a plan; at a terminal, print the addresses and protocols."""
    # The settings of an App are known only after the App is loaded.
    known = [plan]

    def tell(started: Started) -> None:
        protocols = ", ".join(known[-1].config.protocols)
        sys.stdout.write(f"serving at {', '.join(started.addresses)} by {protocols}\n")
        sys.stdout.flush()

    is_told = sys.stdout is not None and sys.stdout.isatty()
    return run(replace(plan, on_started=tell if is_told else None), on_loaded=known.append)


def run(
    plan: Plan,
    supervise: Callable[[], ExitCode] | None = None,
    *,
    on_loaded: Callable[[Plan], None] = lambda _: None,
) -> ExitCode:
    """Serve a plan, and return the exit code.

    If cancelled handlers still occupy threads, this function ends the process itself, because Python would wait for the
    threads.

    Args:
        supervise: replaces the default supervision of workers, and loads the plan itself.
        on_loaded: called with the final plan, including the settings of an App.
    """
    global _is_running
    _check_place()
    _is_running = True
    before = set(threading.enumerate())
    try:
        if supervise is None:
            plan = loaded(plan)
            on_loaded(plan)
            _warn_of_memory(plan)
            # A program with a control socket may have to start new processes while old ones drain, which needs a
            # supervisor.
            is_supervised = plan.workers > 1 or plan.control is not None
            supervise = partial(_run_workers if is_supervised else _run_here, plan)
            if not is_supervised and init.is_needed():
                init.go_on_in_a_child()
        code = supervise()
    finally:
        _is_running = False
    if code is not ExitCode.DONE and _holds_threads(before):
        leave(code)
    return code


def addresses_of(given: str | Address | Sequence[str | Address]) -> tuple[Address, ...]:
    """Return one address or several as a tuple."""
    several = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    return tuple(Address.parse(one) for one in several)


def _several(advertise: "Advertise | Sequence[Advertise]") -> "tuple[Advertise, ...]":
    if advertise is None or advertise is False or isinstance(advertise, str | Address | Endpoint):
        return () if advertise is None else (advertise,)
    if not isinstance(advertise, Sequence):
        raise ConfigError(
            f"advertise is {advertise!r}, it must be an address or an Endpoint",
            hint="for several addresses a list",
        )
    return tuple(advertise)


def _run_here(plan: Plan) -> ExitCode:
    scopes = scopes_among(plan.addresses)
    if scopes is not None and plan.registry is None:
        # At `any://` the registry of the scopes is set before the server listens, because some settings need a
        # registry.
        plan = replace(plan, registry=str(scopes))

    async def listen(server: Server) -> list[str]:
        pairs = zip(plan.addresses, plan.advertised(), strict=True)
        return [str(await server.listen(address, advertise=advertise)) for address, advertise in pairs]

    systemd = Systemd()

    def started(report: Started) -> None:
        if plan.on_started is not None:
            plan.on_started(report)
        systemd.tell_ready()
        _feed(systemd)

    process = ServingProcess(replace(plan, on_started=started), listen, lambda: systemd.tell("STOPPING=1"))

    def reload(_: int) -> None:
        if process.is_serving:
            systemd.tell_reloading()
            process.reload(systemd.tell_ready)
        else:
            process.reload()

    with (
        signals_handled(lambda _: process.stop(), *STOP_SIGNALS),
        signals_handled(reload, *RELOAD_SIGNALS),
    ):
        return process.run()


def _feed(systemd: Systemd) -> None:
    """Notify the service manager's watchdog periodically that the event loop runs."""
    if systemd.interval is not None:
        asyncio.get_running_loop().call_later(systemd.interval, _feed, systemd)
        systemd.feed()


def _run_workers(plan: Plan) -> ExitCode:
    if not hasattr(os, "fork"):
        raise ConfigError(
            f"workers is {plan.workers}, this system cannot fork", hint="start one process per port"
        )
    from fastrpc.workers.supervisor import Supervisor

    return Supervisor(plan).run()


def _check_place() -> None:
    """Refuse to run outside the main thread, or inside a running loop."""
    if _is_running:
        raise RuntimeError(
            "serve() is called while a server starts: the module that is served calls it when it is imported; "
            'put the call under `if __name__ == "__main__":`'
        )
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "serve() handles signals, so it runs in the main thread only; use Server elsewhere"
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError("serve() blocks and makes its own event loop; inside a running loop use Server")


def _warn_of_memory(plan: Plan) -> None:
    """Warn that the messages of a broker in memory are lost when this process ends."""
    if plan.broker is not None and plan.broker.startswith("memory://"):
        logger.warning(
            "the broker is in the memory of this process: its messages end with it, and no other process can publish "
            "to it; `fastrpc broker` serves one at broker://host:port"
        )


def _holds_threads(before: set[threading.Thread]) -> bool:
    """Return whether threads started since `before` still run, after a short wait for threads that are about to end."""
    until = time.monotonic() + THREAD_SECONDS
    for thread in set(threading.enumerate()) - before:
        if not thread.daemon:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                return True
    return False
