"""The broker of a server from the front door: places of its URL, refusals, protocols, life."""

import asyncio
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

import fastrpc
from fastrpc import HTTP, App, CallError, Client, ConfigError, Server, ServerConfig, Timeouts, Topic
from fastrpc.brokers import current_broker, open_broker
from fastrpc.config.validation import SERVER_PROTOCOLS
from fastrpc.rpc.contract import check_implements
from fastrpc.testing import SteeredBroker, broker
from tests.support.program import Program
from tests.support.scopes import posted, serving
from tests.support.ways_in import WAYS, Asked

jobs = Topic("jobs", int)


@fastrpc.service("work")
class Work:
    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.ended: list[str] = []

    @fastrpc.subscriber(jobs)
    async def job(self, number: int) -> None:
        self.began.set()
        try:
            await self.may_end.wait()
            self.ended.append(f"{number} done")
        except asyncio.CancelledError:
            self.ended.append(f"{number} cancelled")
            raise

    @fastrpc.method
    async def publish(self, number: int) -> bool:
        await current_broker().publish(jobs, number)
        return True


@fastrpc.service("plain")
class Plain:
    @fastrpc.method
    async def has_broker(self) -> bool:
        current_broker()
        return True


async def state_of(shop: Any, group: str = "work.job") -> tuple[int, int, int]:
    """Return the messages of a group: left, under way, dead."""
    state = next(one for one in await shop.groups() if one.name == group)
    return state.lag, state.under_way, state.dead


class TestLife:
    @pytest.mark.parametrize(("drain", "end"), [(60.0, "1 done"), (0.05, "1 cancelled")])
    async def test_drain_takes_no_message_lets_handlers_end_and_hands_back_unhandled_messages(
        self, drain: float, end: str
    ) -> None:
        work = Work()
        async with broker() as shop:
            server = Server(work, broker=shop, config=ServerConfig(timeouts=Timeouts(drain=drain)))
            await server.listen("memory://work")
            await shop.publish(jobs, 1)
            await work.began.wait()
            draining = asyncio.ensure_future(server.drain())
            while not server.is_draining:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            await shop.publish(jobs, 2)
            if drain > 1:
                work.may_end.set()
            assert await draining is (drain > 1)
            assert work.ended == [end]
            # No message is under way, and no delivery was counted.
            assert await state_of(shop) == (2 - (drain > 1), 0, 0)
            again = Work()
            again.may_end.set()
            async with Server(again, broker=shop):
                await shop.settled()
            assert again.ended == (["2 done"] if drain > 1 else ["1 done", "2 done"])

    async def test_closed_server_hands_back_the_messages_of_its_handlers(self) -> None:
        work = Work()
        async with broker() as shop:
            server = Server(work, broker=shop)
            await server.start()
            await shop.publish(jobs, 1)
            await work.began.wait()
            await server.close()
            assert work.ended == ["1 cancelled"]
            async with shop.subscribe(jobs, group="work.job") as messages:
                message = await anext(messages)
                assert (message.value, message.delivery) == (1, 1)

    async def test_handler_that_returns_after_its_cancellation_does_not_acknowledge(self) -> None:
        began = asyncio.Event()

        @fastrpc.service("stubborn")
        class Stubborn:
            @fastrpc.subscriber(jobs)
            async def job(self, number: int) -> None:
                began.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    return

        async with broker() as shop:
            server = Server(Stubborn, broker=shop)
            await server.start()
            await shop.publish(jobs, 1)
            await began.wait()
            assert await server.drain(0) is False
            assert await state_of(shop, "stubborn.job") == (1, 0, 0)

    async def test_removed_and_added_services_take_their_subscribers_along(self) -> None:
        work = Work()
        work.may_end.set()
        async with broker() as shop, Server(Plain, broker=shop) as server:
            server.add(work)
            await shop.settled()
            await shop.publish(jobs, 1)
            await shop.settled()
            assert await server.remove("work")
            await shop.publish(jobs, 2)
            await shop.settled()
            assert (work.ended, await state_of(shop)) == (["1 done"], (1, 0, 0))
            server.add(work)
            await shop.settled()
            assert work.ended == ["1 done", "2 done"]

    async def test_rolled_servers_neither_lose_nor_repeat_a_message(self) -> None:
        handled: list[int] = []

        @fastrpc.service("work")
        class Quick:
            @fastrpc.subscriber(jobs, concurrency=3)
            async def job(self, number: int) -> None:
                await asyncio.sleep(0)
                handled.append(number)

        async with broker() as shop:
            server = Server(Quick, broker=shop)
            await server.start()
            for number in range(300):
                await shop.publish(jobs, number)
                if number % 30 == 29:
                    new = Server(Quick, broker=shop)
                    await new.start()
                    assert await server.drain()
                    server = new
            await shop.settled()
            await server.drain()
        assert sorted(handled) == list(range(300))

    async def test_interrupt_of_a_handler_drains_the_server_and_does_not_acknowledge(self) -> None:
        from fastrpc.user_code import interrupts_handled

        interrupted = asyncio.Event()

        @fastrpc.service("work")
        class Interrupted:
            @fastrpc.subscriber(jobs)
            async def job(self, number: int) -> None:
                raise KeyboardInterrupt

        async with broker() as shop, Server(Interrupted, broker=shop):
            with interrupts_handled(interrupted.set):
                await shop.publish(jobs, 1)
                await interrupted.wait()
            await shop.settled()
            assert await state_of(shop) == (1, 0, 0)


@pytest.mark.one_loop
class TestReach:
    @pytest.mark.parametrize("name", WAYS)
    async def test_no_protocol_reaches_a_subscriber(self, name: str) -> None:
        flags = [one.name for one in fields(HTTP) if one.type in (bool, "bool") and one.name != "compress"]
        config = ServerConfig(
            protocols=tuple(SERVER_PROTOCOLS[:5]), http=HTTP(**dict.fromkeys(flags, True)), reflection=True
        )
        work = Work()
        async with broker() as shop, Server(work, Plain, broker=shop, config=config) as server:
            address = await server.listen("tcp://127.0.0.1:0")
            asked = [Asked(address, None, None, f"work.{method}", "unary") for method in ("job", "nosuch")]
            marked, unknown = [await WAYS[name].ask(one) for one in asked]
            assert marked == unknown
            assert (await state_of(shop), work.ended) == ((0, 0, 0), [])

    async def test_rights_of_callers_are_not_asked_for_a_delivery(self) -> None:
        async def nobody(peer: Any) -> None:
            return None

        work = Work()
        work.may_end.set()
        config = ServerConfig(codecs=("json",))
        async with (
            broker() as shop,
            Server(work, broker=shop, authenticate=nobody, authorize=lambda who, what: False, config=config),
        ):
            await shop.publish(jobs, 1)
            await shop.settled()
            assert (work.ended, await state_of(shop)) == (["1 done"], (0, 0, 0))

    async def test_descriptions_omit_subscribers_and_a_subscriber_that_is_a_method_too_is_served(
        self,
    ) -> None:
        seen: list[int] = []

        @fastrpc.service("both")
        class Both:
            @fastrpc.subscriber("numbers")
            @fastrpc.method
            async def both(self, number: int) -> int:
                seen.append(number)
                return number

        config = ServerConfig(reflection=True)
        async with (
            broker() as shop,
            Server(Work(), Both, broker=shop, config=config) as server,
            Client(str(await server.listen("memory://shown"))) as client,
        ):
            assert await client.call(Both.both, 1) == 1
            await shop.publish("numbers", 2)
            await shop.settled()
            assert seen == [1, 2]
            with pytest.raises(CallError, match="work.job"):
                await client.call("work.job", 1)
            shown = json.dumps(await client.call("fastrpc.reflection.services"), default=str)
            assert "work.publish" in shown or "publish" in shown
            assert '"job"' not in shown

    async def test_contract_promises_no_subscriber(self) -> None:
        from fastrpc.rpc.service import service_definition

        assert list(service_definition(Work).methods) == ["publish"]
        check_implements(service_definition(Work), service_definition(Work))


@pytest.mark.one_loop
class TestPlaces:
    async def test_each_server_opens_the_broker_of_its_url(self) -> None:
        work = Work()
        work.may_end.set()
        async with (
            open_broker("memory://places") as shop,
            Server(work, Plain, broker="memory://places") as server,
            Client(str(await server.listen("memory://places"))) as client,
        ):
            assert await client.call(Plain.has_broker)
            assert await client.call(Work.publish, 7)
            while work.ended != ["7 done"]:
                await asyncio.sleep(0)
            assert await state_of(shop) in {(0, 0, 0), (1, 1, 0)}

    async def test_an_app_brings_its_broker_to_an_asgi_server(self) -> None:
        async with serving(App(Plain, broker="memory://asgi")) as app:
            assert (await posted(app, "/plain/has_broker", {})).value is True

    async def test_server_without_a_broker_says_so(self) -> None:
        async with Server(Plain) as server, Client(str(await server.listen("memory://none"))) as client:
            with pytest.raises(CallError, match="plain.has_broker failed"):
                await client.call(Plain.has_broker)
        with pytest.raises(LookupError):
            current_broker()

    @pytest.mark.parametrize(
        "make",
        [
            lambda: Server(Work, broker="nosuch://a"),
            lambda: App(Work, broker="nosuch://a"),
            lambda: Server(Work, broker=3),  # type: ignore[arg-type]
            lambda: Server(Work, broker=fastrpc.testing.broker),  # type: ignore[arg-type]
        ],
    )
    def test_wrong_broker_is_refused_when_the_server_or_app_is_made(self, make: Any) -> None:
        with pytest.raises(ConfigError, match="no broker has the scheme|must be a URL or a Broker"):
            make()

    @pytest.mark.parametrize("way", ["option", "environment", "file", "app", "serve"])
    def test_program_gets_its_broker_from_every_place_and_warns_of_memory(
        self, tmp_path: Path, way: str
    ) -> None:
        url = "memory://program"
        app = f"fastrpc.App(Once, broker={url!r})" if way == "app" else "Once"
        (tmp_path / "app.py").write_text(
            "import fastrpc, os, signal\n"
            "from fastrpc.brokers import current_broker\n"
            '@fastrpc.service("once")\n'
            "class Once:\n"
            "    @fastrpc.scheduled(every=0.1, on='each')\n"
            "    async def tell(self) -> None:\n"
            "        await current_broker().publish('told', 1)\n"
            "    @fastrpc.subscriber('told')\n"
            "    async def told(self, number: int) -> None:\n"
            "        print('told', number, flush=True)\n"
            "        os.kill(os.getpid(), signal.SIGTERM)\n"
            f"app = {app}\n"
            "if __name__ == '__main__':\n"
            f"    fastrpc.serve(app, address='unix://{tmp_path}/socket', broker={url!r})\n"
        )
        (tmp_path / "settings.toml").write_text(f"broker = {url!r}\n" if way == "file" else "")
        arguments = ["-m", "fastrpc", "run", "app:app", "--address", f"unix://{tmp_path}/socket"]
        arguments += {"option": ["--broker", url], "file": ["--config", "settings.toml"]}.get(way, [])
        environment = {"FASTRPC_BROKER": url} if way == "environment" else {}
        arguments = ["app.py"] if way == "serve" else arguments
        with Program(arguments, tmp_path, environment) as program:
            done = program.wait()
        assert done.code == 0
        assert "told 1" in done.output
        assert "the broker is in the memory of this process" in done.errors + done.output

    @pytest.mark.parametrize("given", [{"workers": 2}, {}])
    def test_broker_of_one_process_serves_no_more_workers(
        self, tmp_path: Path, given: dict[str, int]
    ) -> None:
        from fastrpc.endpoint import Address
        from fastrpc.workers.plan import Plan

        for url in ("sqlite:///var/lib/shop", "memory://shop"):
            addresses = (Address.parse("tcp://127.0.0.1:0"),)
            if given:
                with pytest.raises(ConfigError, match="which one process holds, and workers is 2") as caught:
                    Plan(load=list, addresses=addresses, broker=url, **given)
                assert "fastrpc broker serves" in str(caught.value)
            else:
                Plan(load=list, addresses=addresses, broker=url)


@pytest.mark.one_loop
async def test_fixture_gives_a_broker(fastrpc_broker: Any) -> None:
    async with fastrpc_broker() as shop:
        assert isinstance(shop, SteeredBroker)
