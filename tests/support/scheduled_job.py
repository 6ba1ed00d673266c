"""A server whose scheduled method notes each run as a line: the number of the server, and the instant of the run.

Its arguments: URL of the store, file of the lines, number, and `late` for a mistake or `none`.
"""

import asyncio
import random
import sys

import fastrpc
from fastrpc import Server
from fastrpc.coordination import current_store, schedules

__all__ = ["EVERY_SECONDS", "NAME", "RUN_SECONDS"]

EVERY_SECONDS = 0.5

#: The longest time of a run.
RUN_SECONDS = 0.1

NAME = "jobs.job"


@fastrpc.service("jobs")
class Jobs:
    def __init__(self, path: str, number: str) -> None:
        self._path = path
        self._number = number

    @fastrpc.scheduled(every=EVERY_SECONDS, missed="once")
    async def job(self) -> None:
        # The leader has written it before this run; one with the mistake has written the instant before it.
        instant = await current_store().get(f"schedules/{NAME}", float)
        assert instant is not None
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(f"{self._number} {instant.value}\n")
        # Many runs are cut off.
        await asyncio.sleep(random.random() * RUN_SECONDS)


class LateJob(schedules._Job):
    """A mistake: an instant is written after its run."""

    async def _due(self, reached: float) -> float:
        instant = await super()._due(reached)
        await super()._run(instant)
        return instant

    async def _run(self, instant: float) -> float:
        return instant


async def main(url: str, path: str, number: str, mistake: str) -> None:
    if mistake == "late":
        schedules._Job = LateJob  # type: ignore[misc]
    async with Server(Jobs(path, number), store=url) as server:
        await server.listen("memory://jobs")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
