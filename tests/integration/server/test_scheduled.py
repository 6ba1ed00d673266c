"""Scheduled methods and the store of a server, from the front door."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import App, Client, ConfigError, Server, ServerConfig, Timeouts
from fastrpc.coordination import current_store, open_store
from tests.support.program import Program

pytestmark = pytest.mark.one_loop

STORE = "memory://scheduled"


@fastrpc.service("jobs")
class Jobs:
    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.ended: list[str] = []

    @fastrpc.scheduled(every=0.1)
    async def job(self) -> None:
        await current_store().put("begun", 1)
        self.began.set()
        try:
            await self.may_end.wait()
            self.ended.append("done")
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise

    @fastrpc.method
    async def known(self, key: str) -> bool:
        return await current_store().get(key) is not None


@fastrpc.service("plain")
class Plain:
    @fastrpc.method
    async def has_store(self) -> bool:
        current_store()
        return True


async def test_method_runs_on_the_leader_with_the_store_of_its_server() -> None:
    async with open_store(STORE) as store:
        jobs = Jobs()
        async with (
            Server(jobs, Plain, store=STORE) as server,
            Client(str(await server.listen("memory://scheduled"))) as client,
        ):
            await jobs.began.wait()
            assert await client.call(Jobs.known, "begun")
            assert not await client.call(Jobs.known, "absent")
            assert await store.leader("schedules/jobs.job") is not None
            jobs.may_end.set()
        assert jobs.ended[0] == "done"
        assert await store.leader("schedules/jobs.job") is None


@pytest.mark.parametrize(("drain", "end"), [(60.0, "done"), (0.05, "cancelled")])
async def test_drain_waits_for_a_run_and_then_cancels_it(drain: float, end: str) -> None:
    jobs = Jobs()
    server = Server(jobs, config=ServerConfig(timeouts=Timeouts(drain=drain)), store=STORE)
    await server.listen("memory://scheduled")
    await jobs.began.wait()
    draining = asyncio.ensure_future(server.drain())
    if end == "done":
        await asyncio.sleep(0)
        jobs.may_end.set()
    assert await draining is (end == "done")
    assert jobs.ended[-1] == end


async def test_removed_and_added_services_take_their_schedules_along() -> None:
    jobs = Jobs()
    jobs.may_end.set()
    async with Server(Plain, store=STORE) as server:
        await server.listen("memory://scheduled")
        server.add(jobs)
        await jobs.began.wait()
        assert await server.remove("jobs")
        async with open_store(STORE) as store:
            assert await store.leader("schedules/jobs.job") is None
        jobs.began.clear()
        server.add(jobs)
        await jobs.began.wait()


async def test_server_without_a_store_runs_methods_that_need_no_store() -> None:
    began = asyncio.Event()

    @fastrpc.service("each")
    class Each:
        @fastrpc.scheduled(every=0.1, on="each")
        def job(self) -> None:
            loop.call_soon_threadsafe(began.set)

    loop = asyncio.get_running_loop()
    async with (
        Server(Each, Plain) as server,
        Client(str(await server.listen("memory://scheduled"))) as client,
    ):
        await began.wait()
        with pytest.raises(fastrpc.CallError, match="plain.has_store failed"):
            await client.call(Plain.has_store)
    with pytest.raises(LookupError):
        current_store()


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Server(Jobs, store="nosuch://a"), "no store has the scheme"),
        (lambda: App(Jobs, store="nosuch://a"), "no store has the scheme"),
    ],
)
def test_wrong_store_is_refused_on_the_line_that_names_it(make: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make()


async def test_schedule_of_a_leader_without_a_store_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"jobs\.job is scheduled on the leader, but the server has no store"
    ):
        await Server(Jobs).start()


@pytest.mark.parametrize("way", ["option", "environment", "file", "app"])
def test_program_gets_its_store_from_every_place(tmp_path: Path, way: str) -> None:
    store = f"sqlite://{tmp_path}/store"
    app = f"fastrpc.App(Once, store={store!r})" if way == "app" else "Once"
    (tmp_path / "app.py").write_text(
        "import fastrpc, os, signal\n"
        "from fastrpc.coordination import current_store\n"
        '@fastrpc.service("once")\n'
        "class Once:\n"
        "    @fastrpc.scheduled(every=0.1)\n"
        "    async def job(self) -> None:\n"
        "        await current_store().put('ran', 1)\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        f"app = {app}\n"
    )
    (tmp_path / "settings.toml").write_text(f"store = {store!r}\n" if way == "file" else "")
    arguments = ["-m", "fastrpc", "run", "app:app", "--address", f"unix://{tmp_path}/socket"]
    arguments += {"option": ["--store", store], "file": ["--config", "settings.toml"]}.get(way, [])
    environment = {"FASTRPC_STORE": store} if way == "environment" else {}
    with Program(arguments, tmp_path, environment) as program:
        assert program.wait().code == 0
    assert (tmp_path / "store" / "store.db").exists()
