"""Run scheduled methods: on the leader of each schedule, or in every process.

Before a run the leader writes its instant to `schedules/<name>`, on the condition that its lock item exists and the key
is unchanged. So no instant is run twice, even if two processes consider themselves the leader.
"""

import asyncio
import contextvars
import inspect
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, cast

from fastrpc.coordination.locks import Lock
from fastrpc.coordination.store import Put, Store, absent, unchanged
from fastrpc.errors import ConfigError, FastRPCError, StoreError
from fastrpc.gauges import count
from fastrpc.hosted.resources import resource_here, run_with
from fastrpc.hosted.verbs import pauses
from fastrpc.peers.outcomes import is_absence
from fastrpc.rpc.background.scheduling import MethodSchedule, schedules_of
from fastrpc.rpc.signature import form_of
from fastrpc.user_code import contained

__all__ = ["Schedules", "current_store"]

logger = logging.getLogger("fastrpc.server")

SCHEDULES: Final = "schedules/"

#: An instant is skipped if the process is late by more than this many seconds, unless `missed` is "once".
_LATE_SECONDS: Final = 15.0

#: Seconds between two checks of the wall clock, since it may be set.
_LOOK_SECONDS: Final = 10.0


def current_store() -> Store:
    """Return the store of the server whose handler or scheduled method is running.

    Raises:
        LookupError: the server has no store, or the caller is not in a handler.
    """
    return cast(Store, resource_here("store"))


class Schedules:
    """The scheduled methods of the services of one server.

    Args:
        broker: the broker of the server, which `current_broker` returns in runs.
    """

    def __init__(
        self, store: Store | None, clock: Callable[[], float] = time.time, *, broker: Any = None
    ) -> None:
        self._store = store
        self._clock = clock
        self._broker = broker
        self._jobs: dict[str, list[_Job]] = {}

    def add(self, service_name: str, service: Any) -> None:
        """Run the scheduled methods of a service from now on.

        Raises:
            ConfigError: a method is scheduled on the leader, but there is no store.
        """
        for method, schedule in schedules_of(type(service)).items():
            name = f"{service_name}.{method}"
            if schedule.on == "leader" and self._store is None:
                raise ConfigError(
                    f"{name} is scheduled on the leader, but the server has no store",
                    hint="pass store=URL to the server, or write on='each'",
                )
            function = getattr(service, method)
            job = _Job(name, function, schedule, self._store, self._clock, self._broker)
            self._jobs.setdefault(service_name, []).append(job)

    async def stop(self, service_name: str | None = None, seconds: float | None = 0) -> bool:
        """Stop the schedules of one service or of all. Return True if no run had to be cancelled."""
        names = list(self._jobs) if service_name is None else [service_name]
        jobs = [job for name in names for job in self._jobs.pop(name, ())]
        return all(await asyncio.gather(*(job.stop(seconds) for job in jobs)))


class _Job:
    def __init__(
        self,
        name: str,
        function: Callable[[], Any],
        schedule: MethodSchedule,
        store: Store | None,
        clock: Callable[[], float],
        broker: Any,
    ) -> None:
        self._name = name
        self._broker = broker
        self._function = function
        self._schedule = schedule
        self._store = store
        self._clock = clock
        self._is_running = False
        self._is_leaving = False
        # The instant about which the log was warned last.
        self._told: float | None = None
        self._task = asyncio.create_task(self._keep(), name=f"schedule {name}", context=contextvars.Context())

    async def stop(self, seconds: float | None) -> bool:
        """Wait for a run, and cancel it after `seconds`; return whether it ended before that."""
        self._is_leaving = True
        if not self._is_running:
            # Do not cancel it again: it may still release its leadership by a request to the store, which a second
            # cancellation would interrupt.
            self._task.cancel()
            await asyncio.wait([self._task])
            return True
        late: set[asyncio.Task[None]] = {self._task}
        try:
            _, late = await asyncio.wait(late, timeout=seconds)
        finally:
            self._task.cancel()
        if late:
            await asyncio.wait(late)
        return not late

    async def _keep(self) -> None:
        run_with({"store": self._store, "broker": self._broker})
        pause = pauses()
        while not self._is_leaving:
            try:
                if self._schedule.on == "each" or self._store is None:
                    await self._run_on_each()
                else:
                    await self._store.run_while_leading(f"{SCHEDULES}{self._name}", self._run_as_leader)
            except Exception as error:
                # For example, the store is unreachable, or another program has written to the key.
                known = isinstance(error, FastRPCError)
                text = "the schedule %s is interrupted: %s"
                logger.warning(text, self._name, error, exc_info=None if known else error)
                await asyncio.sleep(pause())

    async def _run_on_each(self) -> None:
        reached = self._clock()
        while not self._is_leaving:
            reached = await self._due(reached)
            reached = await self._run(reached)

    async def _run_as_leader(self, lock: Lock) -> None:
        assert self._store is not None
        key = f"{SCHEDULES}{self._name}"
        item = await self._store.get(key, float)
        if item is None:
            # This is the first leader ever, so no earlier instant counts as missed.
            reached, condition = self._clock(), absent(key)
            outcome = await self._store.transact([lock.held(), condition], [Put(key, reached)])
        else:
            reached, condition = item.value, unchanged(key, item.revision)
            if self._schedule.missed == "skip":
                reached = max(reached, self._clock())
            outcome = None
        while not self._is_leaving:
            if outcome is not None:
                if not outcome.succeeded:
                    raise StoreError(f"another process may lead {self._name}", processed="no")
                condition = unchanged(key, outcome.revision)
            instant = await self._due(reached)
            outcome = await self._store.transact([lock.held(), condition], [Put(key, instant)])
            if outcome.succeeded:
                reached = await self._run(instant)

    async def _due(self, reached: float) -> float:
        """Wait for the first instant after `reached`. If several instants have passed already, return the latest."""
        while True:
            due = self._schedule.after(reached)
            if not due > reached:
                raise RuntimeError(f"the instant after {reached} cannot be {due}, it must be later")
            now = await self._reach(due, reached)
            if now < due:
                reached = now
                continue
            latest = self._schedule.latest(now)
            if not due <= latest <= now:
                latest = due
            if now - latest < _LATE_SECONDS or self._schedule.missed == "once":
                return latest
            reached = now

    async def _reach(self, due: float, reached: float) -> float:
        """Wait for an instant; return the time. If the clock was set back, return the time from which to continue."""
        pause = 0.0
        while True:
            # Sleep even for 0 seconds, so that other tasks run between two instants.
            await asyncio.sleep(pause)
            now = self._clock()
            if now >= due:
                return now
            if self._schedule.on == "leader":
                if self._leaves_out_instants(reached):
                    await self._tell_kept()
            elif reached > now + _LATE_SECONDS:
                text = "the clock is set back by some %.0f s: the schedule %s goes on with its instants from now on"
                logger.warning(text, reached - now, self._name)
                # Continue from the time of the last check, so that no instant since then is skipped.
                return now - pause
            pause = min(due - now, _LOOK_SECONDS)

    def _leaves_out_instants(self, kept: float) -> bool:
        """Return whether the stored instant `kept` suppresses instants that are still in the future."""
        soon = self._clock() + _LATE_SECONDS
        return kept > soon and self._schedule.after(soon) < kept

    async def _tell_kept(self) -> None:
        """Warn that the stored instant suppresses other instants. StoreError: another instant was stored."""
        assert self._store is not None
        key = f"{SCHEDULES}{self._name}"
        item = await self._store.get(key, float)
        if item is None or not self._leaves_out_instants(item.value):
            raise StoreError(f"the instant in {key} is another one", processed="no")
        if item.value != self._told:
            self._told = item.value
            text = (
                "the schedule %s stands still until %s: the instant in the store is ahead of the clock here; "
                "once the clocks are right, `fastrpc kv delete STORE %s` lets it go on"
            )
            until = datetime.fromtimestamp(item.value, UTC).isoformat(" ", "seconds")
            logger.warning(text, self._name, until, key)

    def _called(self) -> Any:
        """Call a plain method in a thread; return a future of its result."""
        with contained(self._name):
            return self._function()

    async def _run(self, instant: float) -> float:
        """Run the method; return the instant after which the next run is due."""
        self._is_running, outcome = True, "cancelled"
        try:
            # Like for `@method`, a wrapper of a coroutine function runs on the loop.
            is_async = form_of(self._function) == "coroutine"
            with contained(self._name):
                result = self._function() if is_async else await asyncio.to_thread(self._called)
                if inspect.isawaitable(result):
                    await result
            outcome = "ok"
        except Exception as error:
            outcome = "failed"
            # Log a failure without a traceback if a store, a broker or a server is unreachable, as each run fails then.
            text = "the scheduled method %s failed: %s: %s"
            told = None if is_absence(error) else error
            logger.error(text, self._name, type(error).__name__, error, exc_info=told)
        finally:
            self._is_running = False
            count("schedule_runs", self._name, outcome)
        return instant if self._schedule.missed == "once" else max(instant, self._clock())
