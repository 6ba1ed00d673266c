"""The announcer: the process that keeps the workers' shared addresses in a registry.

It is a separate process because registries need threads, and the supervisor, which forks, must not have any. A worker
cannot do this: its end would withdraw the address of all workers.
"""

import asyncio
import contextlib
import signal
from functools import partial
from typing import Any

from fastrpc.endpoint import Address, Endpoint
from fastrpc.place import checked_place
from fastrpc.server.admin.acts import Parts
from fastrpc.server.admin.label import with_pages
from fastrpc.server.registrar import Record, Registrar, advertised_endpoint, record_of
from fastrpc.time_limit import time_limit
from fastrpc.workers.monitoring.kept_settings import KeptSettings
from fastrpc.workers.monitoring.reporter import Reporter
from fastrpc.workers.monitoring.scoreboard import ProcessPlace
from fastrpc.workers.plan import ExitCode, Plan, Started
from fastrpc.workers.process import loop_factory, signals_handled
from fastrpc.workers.worker_channel import DRAIN, QUIT, WorkerEnd

__all__ = ["announce", "run_announcer"]


def run_announcer(
    plan: Plan, channel: WorkerEnd, addresses: list[Address], started: Started, place: ProcessPlace
) -> ExitCode:
    """Keep the workers' services registered until the supervisor orders the end or has ended.

    Raises:
        ConfigError: the registry cannot hold a record.
        StoreError: the registry refuses a record.
    """
    # Ignore signals to the whole process group, which only the supervisor handles.
    with (
        signals_handled(lambda _: None, signal.SIGINT, signal.SIGTERM),
        asyncio.Runner(loop_factory=loop_factory()) as runner,
    ):
        return runner.run(announce(plan, channel, _records(plan, addresses, started), place))


async def announce(
    plan: Plan, channel: WorkerEnd, records: dict[Record, Endpoint], place: ProcessPlace
) -> ExitCode:
    """Keep records registered, with the kept settings applied, until the supervisor orders the end.

    Raises:
        ConfigError: the registry cannot hold a record.
        StoreError: the registry refuses a record.
    """
    assert plan.registry is not None
    registrar = Registrar(plan.registry, plan.config.tls)
    kept = KeptSettings(place, Parts(records=registrar))
    answer = None if plan.config.admin_address is None else partial(_answer, registrar, kept)
    reporter = Reporter(place, "announcer", lambda: registrar.is_registered, answer, kept.catch_up)
    # The reporter's first beat applies the kept settings before the first record is written.
    reporter.start()
    orders = _Orders(channel)
    registrar.want(records)
    settling = asyncio.ensure_future(registrar.settle())
    try:
        await asyncio.wait((settling, orders.received), return_when=asyncio.FIRST_COMPLETED)
        if settling.done():
            settling.result()
            channel.report(started={"records": len(records)})
        await orders.received
        if not orders.must_quit:
            settling.cancel()
            await registrar.retire()
            # The workers start to drain now, and may stop accepting when this process ends.
            channel.report(retired=True)
            await orders.quits_within(plan.config.timeouts.announce)
    finally:
        settling.cancel()
        reporter.close()
        if not orders.must_quit:
            await registrar.close()
    # On QUIT the leases expire by themselves.
    return ExitCode.INTERRUPTED if orders.must_quit else ExitCode.DONE


async def _answer(registrar: Registrar, kept: KeptSettings, question: str) -> dict[str, Any]:
    """Answer a question of the monitor: with the records for a page, or the value of a setting."""
    of_act = question.partition(" ")[2]
    return await kept.answer(of_act) if of_act else {"records": registrar.shown()}


class _Orders:
    """The supervisor's orders: DRAIN or QUIT."""

    def __init__(self, channel: WorkerEnd) -> None:
        self._channel = channel
        self._loop = asyncio.get_running_loop()
        self.received: asyncio.Future[None] = self._loop.create_future()
        self._quit = asyncio.Event()
        self._loop.add_reader(channel.fileno(), self._receive)

    @property
    def must_quit(self) -> bool:
        return self._quit.is_set()

    async def quits_within(self, seconds: float) -> None:
        """Return after `seconds`, or earlier when QUIT is received."""
        with contextlib.suppress(TimeoutError):
            async with time_limit(seconds):
                await self._quit.wait()

    def _receive(self) -> None:
        order = self._channel.receive()
        if order is None or order[0] not in (DRAIN, QUIT):
            return
        if order[0] == QUIT:
            self._quit.set()
        if self.must_quit or not self._channel.is_open:
            self._loop.remove_reader(self._channel.fileno())
        if not self.received.done():
            self.received.set_result(None)


def _records(plan: Plan, addresses: list[Address], started: Started) -> dict[Record, Endpoint]:
    """Return the records: every service at each advertised address."""
    records = {}
    admin = plan.config.admin_address
    pages = None if admin is None else Address.parse(admin)
    for bound, wanted in zip(addresses, plan.wanted, strict=True):
        endpoint = advertised_endpoint(bound, wanted.advertise, checked_place(plan.place))
        if endpoint is not None:
            for service in started.services:
                record = record_of(endpoint, started.versions.get(service), plan.config)
                record = with_pages(record, plan.config.admin_advertise, pages)
                records[service, endpoint.address] = record
    return records
