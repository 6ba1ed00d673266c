"""Acts on the records of a server of one process, under load: no call fails, and calls follow the records."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Endpoint, StoreError
from fastrpc.coordination import RegistryServer
from fastrpc.registries import StaticRegistry
from fastrpc.status import Status
from tests.support.acted_records import acted_server, change_records, roll_and_drain
from tests.support.admin_pages import act, operators_file, page, server_with_pages
from tests.support.paced_calls import paced_calls
from tests.support.who import Who

pytestmark = pytest.mark.one_loop


@pytest.fixture
async def registry() -> AsyncIterator[str]:
    async with RegistryServer("tcp://127.0.0.1:0") as server:
        yield server.url


async def test_calls_follow_the_acts_without_a_failure(registry: str, tmp_path: Path) -> None:
    async with (
        acted_server("a", registry, tmp_path) as (_, a),
        acted_server("b", registry, tmp_path),
        paced_calls(registry) as calls,
    ):
        await change_records(a, calls)


@pytest.mark.measures
async def test_calls_follow_within_three_seconds(registry: str, tmp_path: Path) -> None:
    # The renewal of a registry, 2 s, and one second more.
    async with (
        acted_server("a", registry, tmp_path) as (_, a),
        acted_server("b", registry, tmp_path),
        paced_calls(registry, seconds=3.0) as calls,
    ):
        await change_records(a, calls)


async def test_a_drained_server_fails_no_call(registry: str, tmp_path: Path) -> None:
    async with (
        acted_server("a", registry, tmp_path) as (_, a),
        acted_server("b", registry, tmp_path),
        paced_calls(registry) as calls,
    ):
        await roll_and_drain(a, calls, has_workers=False)


async def test_the_last_server_of_a_service_may_be_out(registry: str, tmp_path: Path) -> None:
    async with acted_server("a", registry, tmp_path) as (_, a), paced_calls(registry) as calls:
        assert await a.done("out", was=False) == (False, True)
        # With all servers out each gets some calls.
        await calls.go_to("a")


async def test_a_server_that_is_taken_out_gets_no_weight(registry: str, tmp_path: Path) -> None:
    async with acted_server("a", registry, tmp_path) as (_, a):
        assert await a.done("out", was=False) == (False, True)
        answer = await a.act("weight", weight=5, was=1)
        assert (answer.status, answer.json) == (409, {"error": "the server is out: put it in first"})
        assert await a.shown() == {"is_out": True, "weight": 0, "configured_weight": 1}


async def test_records_of_different_weights_are_shown_and_changed_together(
    registry: str, tmp_path: Path
) -> None:
    async with acted_server("a", registry, tmp_path) as (server, a):
        await server.listen("memory://more", advertise=Endpoint("tcp://127.0.0.1:1", weight=3))
        assert await a.shown() == {"is_out": False, "weight": [1, 3], "configured_weight": [1, 3]}
        assert await a.refused("weight", weight=5, was=1) == [1, 3]
        assert await a.done("weight", weight=5, was=[1, 3]) == ([1, 3], 5)
        assert await a.shown() == {"is_out": False, "weight": 5, "configured_weight": [1, 3]}


async def test_a_restart_restores_the_configured_values(registry: str, tmp_path: Path) -> None:
    for _ in range(2):
        async with acted_server("a", registry, tmp_path) as (_, a):
            assert await a.shown() == {"is_out": False, "weight": 1, "configured_weight": 1}
            assert await a.done("out", was=False) == (False, True)


@pytest.mark.parametrize(("name", "more"), [("out", {}), ("in", {}), ("weight", {"weight": 5})])
async def test_a_server_without_a_registry_says_so(name: str, more: dict[str, int], tmp_path: Path) -> None:
    async with server_with_pages(Who("a"), admin_operators=operators_file(tmp_path)) as server:
        answer = await act(server, name, was=1 if more else False, **more)
        assert (answer.status, answer.json) == (409, {"error": "the server has no registry"})
        [service] = (await page(server, "/services", Accept="application/json")).json["services"]
        assert service.keys() == {"name", "version", "state", "methods"}


async def test_the_answer_says_that_the_registry_is_away(tmp_path: Path) -> None:
    async with acted_server("a", "registry://127.0.0.1:1", tmp_path) as (_, a):
        answer = await a.act("out", was=False)
        assert (answer.status, answer.json["after"]) == (200, True)
        assert answer.json["problem"] == "the registry is unreachable, it will get the records later"
        assert await a.shown() == {"is_out": True, "weight": 0, "configured_weight": 1}


class Refusing(StaticRegistry):
    """Refuses to change records."""

    def register(self, service: str, endpoint: Endpoint) -> Any:
        registration = super().register(service, endpoint)

        async def refuse(endpoint: Endpoint) -> None:
            raise StoreError("no such permission", status=Status.PERMISSION_DENIED)

        registration.change = refuse  # type: ignore[method-assign]
        return registration


async def test_the_answer_says_that_the_registry_refuses(tmp_path: Path) -> None:
    async with acted_server("a", Refusing(), tmp_path) as (_, a):
        answer = await a.act("weight", weight=5, was=1)
        assert (answer.status, answer.json["after"]) == (200, 5)
        assert answer.json["problem"] == "the registry refuses the records: no such permission"


async def test_the_audit_has_the_whole_override_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with acted_server("a", Refusing(), tmp_path) as (_, a):
        assert (await a.act("weight", weight=5, was=1)).status == 200
        answer = await a.act("in", was=False)
        assert (answer.json["before"], answer.json["after"]) == (False, False)
    acts = [vars(one) for one in caplog.records if one.name == "fastrpc.audit"]
    configured, weighed = {"is_out": False, "weight": None}, {"is_out": False, "weight": 5}
    assert [(one["before"], one["after"]) for one in acts] == [(configured, weighed), (weighed, configured)]


async def test_pages_for_people_show_the_records(registry: str, tmp_path: Path) -> None:
    async with acted_server("a", registry, tmp_path) as (server, _):
        text = (await page(server, "/services", Accept="text/html")).text
        assert '<th>is out</th><th class="number">weight</th>' in text
