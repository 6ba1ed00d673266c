"""The store in Consul: the rights of its tokens, and the bound of an answer."""

import itertools
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastrpc import Status, StoreError
from fastrpc.bounded_http import client, timed_socket
from fastrpc.registries.base.urls import RegistryURL
from fastrpc.stores.base import Unchanged
from fastrpc.stores.consul import open_consul_store
from fastrpc.stores.consul.keys import ConsulKeys
from fastrpc.stores.consul.store import ConsulStore
from tests.support.cluster import in_thread
from tests.support.registry_servers import ConsulAgent

pytestmark = pytest.mark.one_loop

_numbers = itertools.count(1)

GUARDED = """
acl { enabled = true, default_policy = "deny", tokens { master = "root" } }
"""


def opened(url: str) -> ConsulStore:
    return open_consul_store(RegistryURL(url))


def consul_token(agent: ConsulAgent, rules: str) -> str:
    """Return a new token with these rights."""

    def made(kind: str, **data: Any) -> Any:
        return agent.ask(f"/v1/acl/{kind}", method="PUT", data=data, token="root")

    name = f"policy-{next(_numbers)}"
    made("policy", Name=name, Rules=rules)
    return str(made("token", Policies=[{"Name": name}])["SecretID"])


@pytest.fixture
def guarded_consul(consul_path: str, tmp_path: Path) -> Iterator[ConsulAgent]:
    """An agent that asks for a token."""
    with ConsulAgent(consul_path, tmp_path, configuration=GUARDED).running() as agent:
        yield agent


async def test_consul_token_reaches_its_own_keys(guarded_consul: ConsulAgent) -> None:
    agent = guarded_consul
    rules = 'key_prefix "shop/" { policy = "write" } session_prefix "" { policy = "write" }'
    token = await in_thread(consul_token, agent, rules)
    async with opened(f"{agent.url}?token={token}") as store:
        lease = await store.lease(10.0)
        await store.put("shop/a", b"1", lease=lease)
        assert [item.key for item in (await store.list("shop/")).items] == ["shop/a"]
        await in_thread(lambda: agent.ask("/v1/kv/theirs", method="PUT", data=b"", token="root"))
        conditions = [Unchanged("shop/a", 1), Unchanged("theirs", 1)]
        for attempt in (store.put("other", b""), store.transact(conditions, [])):
            with pytest.raises(StoreError, match="[Pp]ermission denied") as caught:
                await attempt
            assert (caught.value.status, caught.value.processed) == (Status.PERMISSION_DENIED, "no")


def change(agent: ConsulAgent, method: str, *keys: str) -> None:
    for key in keys:
        agent.ask(f"/v1/kv/{key}", method=method, data=b"1", token="root")


@pytest.fixture
async def read_only(guarded_consul: ConsulAgent) -> AsyncIterator[ConsulStore]:
    """A store whose token may read the keys below `shop/`: `a`, `b`, `c`."""
    await in_thread(change, guarded_consul, "PUT", "shop/a", "shop/b", "shop/c")
    token = await in_thread(consul_token, guarded_consul, 'key_prefix "shop/" { policy = "read" }')
    async with opened(f"{guarded_consul.url}?token={token}") as store:
        yield store


async def test_failed_transaction_of_absent_keys_needs_the_right_to_read_alone(
    read_only: ConsulStore,
) -> None:
    outcome = await read_only.transact([Unchanged("shop/none", 0), Unchanged("shop/b", 1)], [])
    assert [item and item.value for item in outcome.items] == [None, b"1"]
    with pytest.raises(StoreError, match="[Pp]ermission denied") as caught:
        await read_only.transact([Unchanged("none", 0), Unchanged("shop/b", 1)], [])
    assert (caught.value.status, caught.value.processed) == (Status.PERMISSION_DENIED, "no")


async def test_page_whose_key_is_deleted_meanwhile_needs_the_right_to_read_alone(
    read_only: ConsulStore, guarded_consul: ConsulAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_keys = ConsulKeys._read_keys

    def read_after_a_deletion(*arguments: Any, **options: Any) -> Any:
        change(guarded_consul, "DELETE", "shop/a")
        return read_keys(*arguments, **options)

    monkeypatch.setattr(ConsulKeys, "_read_keys", read_after_a_deletion)
    assert [item.key for item in (await read_only.list("shop/", limit=2)).items] == ["shop/b"]


async def test_consul_page_with_the_longest_values_of_other_programs_is_read(
    consul: ConsulAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The bound of bytes is tried here, on a busy machine too.
    monkeypatch.setattr(client, "ANSWER_SECONDS", 30.0)
    monkeypatch.setattr(timed_socket, "REST_SECONDS", 30.0)
    base = f"values-of-others/{next(_numbers)}"

    def fill() -> None:
        for number in range(25):
            consul.ask(f"/v1/kv/{base}/{number:02}", method="PUT", data=b"x" * 512 * 1024)

    await in_thread(fill)
    async with opened(f"{consul.url}?base={base}") as store:
        page = await store.list(limit=24)
        assert [len(item.value) for item in page.items] == [512 * 1024] * 24
