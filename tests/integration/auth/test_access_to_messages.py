"""The table of access to messages: every method of `fastrpc.broker`, for topics and groups without the right.

Without the right no message reaches or leaves a caller, and foreign groups are not joined, sought or replayed, in any
spelling of a topic or group. A method without a row fails.
"""

import contextlib
import inspect
import json
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
from prometheus_client import CollectorRegistry, generate_latest

import fastrpc
from fastrpc import HTTP, Client, Server, ServerConfig, Status
from fastrpc.auth import Identity, Policy, StaticTokens
from fastrpc.brokers.base import BrokerBackend, GroupSettings, OutgoingMessage, TopicSettings
from fastrpc.brokers.remote.service import BrokerService
from fastrpc.handlers.auth import failed_logins
from fastrpc.hosted.rights import rights_of
from fastrpc.metrics import collector
from fastrpc.rpc.service import service_definition
from tests.support.admin_pages import page
from tests.support.http_talk import HttpClient

pytestmark = pytest.mark.one_loop

TOKENS: Final = StaticTokens(
    {
        "token-of-shop": Identity("shop"),
        "token-of-billing": Identity("billing"),
        "token-of-operator": Identity("operator"),
        "token-of-eve": Identity("eve"),
    }
)
RULES: Final[list[dict[str, Any]]] = [
    {"who": ["shop"], "publish": ["orders.**", "queues.*"]},
    {
        "who": ["billing"],
        "subscribe": ["orders.**"],
        "groups": ["billing.*"],
        "publish": ["bills.*", "queues.*"],
    },
    {"who": ["operator"], "manage": ["secrets.**", "orders.**", "bills.*", "queues.*"]},
    {"who": ["eve"], "allow": ["fastrpc.health.check"]},
]

#: All answers to a caller are searched for this value.
PLANTED: Final = "planted-value"

#: Topics that the rules grant to neither shop nor billing, in every spelling; and foreign groups.
TOPICS: Final = (
    *("secrets.a", "secrets.*", "secrets.**", "**", "*", "*.*", "*.a", "order", "ordersx.new", "secrets", ""),
    *(
        "orders",
        "Orders.new",
        "orders..new",
        "orders.new/../secrets.a",
        "secrets.a ",
        "secrets\0.a",
        "\ud800",
    ),
)
GROUPS: Final = (
    "audit",
    "others.group",
    "billing",
    "billing.a.b",
    "billingx.a",
    "",
    "**",
    "billing.*",
    "\u200b",
)

#: The calls of each method for a topic that is not granted.
OF_TOPICS: Final[dict[str, Callable[[str], list[tuple[Any, ...]]]]] = {
    "publish": lambda topic: [(topic, b"x"), (topic, b"x", "key", "id", 0.0, {"a": "b"})],
    "publish_many": lambda topic: [
        ([{"topic": topic, "body": b"x"}],),
        ([{"topic": "orders.new", "body": b"x"}, {"topic": topic, "body": b"x"}],),
    ],
    "consume": lambda topic: [(topic,), (topic, "billing.a"), (topic, "audit", "oldest")],
    "follow": lambda topic: [(topic,), (topic, "billing.a", "oldest"), (topic, "audit")],
    "pull": lambda topic: [(topic, "billing.a"), (topic, "audit", 10, 0.0, 30.0, "oldest")],
    "declare": lambda topic: [
        ({"name": topic},),
        ({"name": topic, "keep_seconds": None, "groups": ["billing.z"]},),
    ],
    "covering": lambda topic: [(topic,)],
}

#: The calls of each method for a group that is not granted.
OF_GROUPS: Final[dict[str, Callable[[str], list[tuple[Any, ...]]]]] = {
    "consume": lambda group: [("orders.new", group), ("orders.**", group, "oldest")],
    "follow": lambda group: [("orders.new", group, "oldest")],
    "pull": lambda group: [("orders.new", group)],
    "seek": lambda group: [(group, "oldest"), (group, "new"), (group, "1")],
    "remove_group": lambda group: [(group,)],
    "dead_letters": lambda group: [(group,)],
    "replay": lambda group: [(group,), (group, ["dead-of-audit"])],
    "discard": lambda group: [(group,), (group, ["dead-of-audit"])],
    # A queue begins its groups.
    "declare": lambda group: [
        ({"name": name, "keep_seconds": None, "groups": groups},)
        for name in ("queues.a", "queues.*")
        for groups in ([group], ["billing.z", group])
    ],
}

#: Lists show only entries that the caller may see; tokens of pulled messages belong to one caller.
OTHERS: Final = ("topics", "groups", "settle")

STREAMS: Final = {"consume", "follow", "dead_letters"}

REFUSED: Final = {Status.PERMISSION_DENIED, Status.INVALID_ARGUMENT}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failed logins are many here, and have a test of their own."""
    monkeypatch.setattr(failed_logins, "PAUSE_SECONDS", 0.0)


async def plant(broker: BrokerBackend) -> None:
    """Make foreign topics and groups, with a waiting message and a dead letter each."""
    for name in ("secrets.**", "orders.**", "bills.*"):
        await broker.declare(TopicSettings(name))
    for group, topic in (("audit", "secrets.a"), ("others.group", "orders.new"), ("billing.b", "secrets.a")):
        member = await broker.join(GroupSettings(group, topic))
        await broker.publish(
            [OutgoingMessage(topic, PLANTED.encode(), PLANTED, f"dead-of-{group}", 0.0, {"h": PLANTED})]
        )
        (one,) = await member.take(1)
        assert await member.reject(one.token, PLANTED, PLANTED)
        await broker.publish([OutgoingMessage(topic, PLANTED.encode(), PLANTED)])


async def content(broker: BrokerBackend) -> Any:
    """Return all that requests could change."""
    groups = [
        (one.name, one.lag, one.dead, one.under_way, one.members, one.pattern)
        for one in await broker.groups()
    ]
    return list(await broker.topics()), groups


@contextlib.asynccontextmanager
async def served(**settings: Any) -> AsyncIterator[tuple[BrokerBackend, Server]]:
    """Serve `fastrpc.broker` with rights over a broker with planted messages."""
    rights = rights_of(TOKENS, Policy(RULES), command="broker")
    service = BrokerService(rights=rights)
    config = ServerConfig(**settings)
    async with Server(service, authenticate=TOKENS, authorize=rights, config=config) as server:
        await plant(service.backend)
        yield service.backend, server


@contextlib.asynccontextmanager
async def hosted(**settings: Any) -> AsyncIterator[tuple[BrokerBackend, fastrpc.Address]]:
    """Serve it at an address."""
    async with served(**settings) as (backend, server):
        yield backend, await server.listen("tcp://127.0.0.1:0")


async def called(client: Client, method: str, *arguments: Any) -> tuple[Status, str]:
    """Return the status of a call, and the text of its answer."""
    name = f"fastrpc.broker.{method}"
    try:
        if method not in STREAMS:
            return Status.OK, repr(await client.call(name, *arguments))
        opened = client.open if method == "consume" else client.stream
        async with opened(name, *arguments) as messages:
            return Status.OK, repr(await messages.receive())
    except fastrpc.FastRPCError as error:
        return error.status, f"{error!r} {getattr(error, 'details', None)!r}"


def parameters_of(method: str) -> list[str]:
    """Return the names of the parameters of a method."""
    return [name for name in inspect.signature(getattr(BrokerService, method)).parameters if name != "self"]


def test_every_method_of_the_broker_has_a_row() -> None:
    definition = service_definition(BrokerService)
    assert definition.methods.keys() == OF_TOPICS.keys() | OF_GROUPS.keys() | set(OTHERS)
    assert {name for name, one in definition.methods.items() if one.kind != "unary"} == STREAMS


@pytest.mark.parametrize("method", OF_TOPICS)
@pytest.mark.parametrize("who", ["shop", "billing", "eve"])
async def test_no_method_reaches_a_topic_without_the_right(who: str, method: str) -> None:
    async with hosted() as (broker, address), Client(address, credentials=f"token-of-{who}") as client:
        before = await content(broker)
        for topic in TOPICS:
            for arguments in OF_TOPICS[method](topic):
                status, told = await called(client, method, *arguments)
                # A lone surrogate is refused by our own client.
                assert status in REFUSED or topic == "\ud800", (arguments, told)
                assert PLANTED not in told, arguments
        assert await content(broker) == before


@pytest.mark.parametrize("method", OF_GROUPS)
@pytest.mark.parametrize("who", ["shop", "billing", "eve"])
async def test_no_method_reaches_a_group_without_the_right(who: str, method: str) -> None:
    async with hosted() as (broker, address), Client(address, credentials=f"token-of-{who}") as client:
        before = await content(broker)
        for group in GROUPS:
            for arguments in OF_GROUPS[method](group):
                status, told = await called(client, method, *arguments)
                assert status in REFUSED, (arguments, told)
                assert PLANTED not in told, arguments
        assert await content(broker) == before


@pytest.mark.parametrize("method", [*OF_TOPICS, *OF_GROUPS, *OTHERS])
@pytest.mark.parametrize("token", [None, "unknown"])
async def test_no_method_answers_a_caller_without_an_identity(token: str | None, method: str) -> None:
    rows: dict[str, Callable[[str], list[tuple[Any, ...]]]] = {**OF_GROUPS, **OF_TOPICS}
    rows |= {"topics": lambda _: [()], "groups": lambda _: [()], "settle": lambda _: [([],)]}
    async with hosted() as (broker, address), Client(address, credentials=token) as client:
        before = await content(broker)
        for arguments in rows[method]("orders.new"):
            assert (await called(client, method, *arguments))[0] is Status.UNAUTHENTICATED
        assert await content(broker) == before


async def test_publisher_without_the_right_to_subscribe_cannot_read_its_topic() -> None:
    async with hosted() as (_, address), Client(address, credentials="token-of-shop") as client:
        for method in ("consume", "follow", "pull"):
            for arguments in (("orders.new",), ("orders.new", "billing.a", "oldest")):
                if method != "pull" or len(arguments) > 1:
                    status, told = await called(client, method, *arguments[:2])
                    assert (status, PLANTED in told) == (Status.PERMISSION_DENIED, False), arguments


async def test_group_of_a_topic_that_its_member_may_not_read_gives_no_dead_letters() -> None:
    async with hosted() as (_, address), Client(address, credentials="token-of-billing") as client:
        for method in ("dead_letters", "replay", "discard", "seek", "remove_group"):
            status, told = await called(
                client, method, "billing.b", *(("oldest",) if method == "seek" else ())
            )
            assert (status, PLANTED in told) == (Status.PERMISSION_DENIED, False), method


async def test_lists_show_only_names_that_their_caller_may_see() -> None:
    seen = {
        "shop": (["orders.**"], []),
        "billing": (["bills.*", "orders.**"], ["billing.b"]),
        "operator": (["bills.*", "orders.**", "secrets.**"], ["audit", "billing.b", "others.group"]),
        "eve": ([], []),
    }
    async with hosted() as (_, address):
        for who, (topics, groups) in seen.items():
            async with Client(address, credentials=f"token-of-{who}") as client:
                assert [one.name for one in await client.call(BrokerService.topics)] == topics
                assert [one.name for one in await client.call(BrokerService.groups)] == groups


async def test_each_right_lets_its_callers_publish_subscribe_or_manage() -> None:
    """So that the tables above fail for the right reason."""
    async with hosted() as (broker, address):
        async with Client(address, credentials="token-of-shop") as shop:
            await shop.call(BrokerService.declare, TopicSettings("orders.**"))
            await shop.call(BrokerService.publish, "orders.new", b"1")
            assert await shop.call(BrokerService.covering, "orders.new") == TopicSettings("orders.**")
        async with Client(address, credentials="token-of-billing") as billing:
            (one,) = await billing.call(BrokerService.pull, "orders.new", "billing.a", 1, 0.0, 30.0, str(3))
            assert (one.message.body, one.message.publisher) == (b"1", "shop")
            reject = {"token": one.token, "verb": "reject", "reason": "no"}
            assert await billing.call("fastrpc.broker.settle", [reject]) == [True]
            assert await billing.call(BrokerService.replay, "billing.a") == 1
            assert (await called(billing, "consume", "orders.new", "billing.a"))[0] is Status.OK
        async with Client(address, credentials="token-of-operator") as operator:
            assert PLANTED in (await called(operator, "dead_letters", "audit"))[1]
            assert await operator.call(BrokerService.replay, "audit") == 1
            await operator.call(BrokerService.seek, "others.group", "new")
            await operator.call(BrokerService.remove_group, "others.group")
            assert (await called(operator, "seek", "absent", "new"))[0] is Status.PERMISSION_DENIED
        assert [one.name for one in await broker.groups()] == ["audit", "billing.a", "billing.b"]


async def test_queue_is_declared_by_a_caller_with_the_rights_to_it_and_to_its_groups() -> None:
    async with hosted() as (broker, address):
        for who, group in (("billing", "billing.q"), ("operator", "others.q")):
            queue = TopicSettings(f"queues.{who}", keep_seconds=None, groups=(group,))
            async with Client(address, credentials=f"token-of-{who}") as client:
                await client.call(BrokerService.declare, queue)
        names = [one.name for one in await broker.groups()]
        assert names == ["audit", "billing.b", "billing.q", "others.group", "others.q"]
        # A publisher declares a queue that exists again: it sees its topic.
        async with Client(address, credentials="token-of-shop") as shop:
            await shop.call(BrokerService.declare, queue)


async def test_pulled_message_is_settled_by_its_caller_alone() -> None:
    async with hosted() as (_, address), Client(address, credentials="token-of-billing") as billing:
        await billing.call(BrokerService.pull, "orders.new", "billing.a")
        async with Client(address, credentials="token-of-shop") as shop:
            await shop.call(BrokerService.publish, "orders.new", b"1")
            (one,) = await billing.call(BrokerService.pull, "orders.new", "billing.a")
            assert await shop.call("fastrpc.broker.settle", [{"token": one.token}]) == [False]
        assert await billing.call("fastrpc.broker.settle", [{"token": one.token}]) == [True]


async def test_right_that_ends_stops_a_consumer_before_its_next_message() -> None:
    rules = [dict(rule) for rule in RULES]
    policy = Policy(rules)
    rights = rights_of(TOKENS, policy, command="broker")
    service = BrokerService(rights=rights)
    async with Server(service, authenticate=TOKENS, authorize=rights) as server:
        address = await server.listen("tcp://127.0.0.1:0")
        backend = service.backend
        await plant(backend)
        async with Client(address, credentials="token-of-billing") as client:
            async with client.open(BrokerService.consume, "orders.new", "billing.a") as messages:
                await messages.receive()
                await messages.send({"take": 5})
                policy._rules = Policy([{"who": ["billing"], "publish": ["bills.*"]}]).rules
                await backend.publish([OutgoingMessage("orders.new", PLANTED.encode())])
                with pytest.raises(fastrpc.CallError) as caught:
                    while True:
                        assert PLANTED not in repr(await messages.receive())
                assert caught.value.status is Status.PERMISSION_DENIED
        member = await backend.join(GroupSettings("billing.a", "orders.new"))
        (one,) = await member.take(1)
        assert (one.body, one.delivery) == (PLANTED.encode(), 1)


async def test_tables_hold_for_callers_by_http() -> None:
    config = {"protocols": ("native", "http"), "http": HTTP(json=True)}
    async with hosted(**config) as (broker, address):
        before = await content(broker)
        for method, rows, names in (
            *((method, rows, ("secrets.a", "**")) for method, rows in OF_TOPICS.items()),
            *((method, rows, ("audit", "others.group")) for method, rows in OF_GROUPS.items()),
        ):
            if method == "consume":
                # It takes a stream, which a request of JSON cannot send.
                continue
            for arguments in (one for name in names for one in rows(name)):
                named = dict(zip(parameters_of(method), arguments, strict=False))
                body = json.dumps(named, default=lambda value: "eA==").encode()
                async with await HttpClient.to(address) as client:
                    found = await client.post(
                        f"/fastrpc.broker/{method}",
                        body,
                        Content_Type="application/json",
                        Authorization="Bearer token-of-billing",
                    )
                assert found.status == 403, (method, arguments, found.body)
                assert PLANTED.encode() not in found.body
        assert await content(broker) == before


async def test_planted_secrets_are_in_no_log_no_metric_and_no_page(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with served(admin_address="tcp://127.0.0.1:0") as (_, server):
        address = await server.listen("tcp://127.0.0.1:0")
        for who in ("shop", "billing", "operator", "eve"):
            async with Client(address, credentials=f"token-of-{who}") as client:
                for method, rows in (*OF_TOPICS.items(), *OF_GROUPS.items()):
                    for arguments in rows("secrets.a" if method in OF_TOPICS else "audit"):
                        await called(client, method, *arguments)
        registry = CollectorRegistry()
        registry.register(collector())
        pages = [(await page(server, path)).text for path in ("/", "/metrics")]
    told = "\n".join([caplog.text, generate_latest(registry).decode(), *pages])
    assert "fastrpc.broker" in told
    assert PLANTED not in told
    assert "token-of" not in told
