"""The knowledge of type checkers about topics, publications and messages. Checked, and never called."""

from typing import Any, assert_type

import fastrpc
from fastrpc.brokers import Broker, Message, Published, Subscription, sync
from tests.typing.services import User

USERS = fastrpc.Topic("users.new", User)
PLAIN = fastrpc.Topic("users.plain")


async def publications(broker: Broker, blocking: sync.SyncBroker, user: User) -> None:
    assert_type(USERS, fastrpc.Topic[User])
    assert_type(PLAIN, fastrpc.Topic[Any])
    assert_type(await broker.publish(USERS, user, key="a", id="b", delay=1, headers={"c": "d"}), Published)
    await broker.publish(PLAIN, {"any": "value"})
    await broker.publish("users.new", b"any")
    for published in await broker.publish_many(USERS, [user], ids=["17"]):
        assert_type(published.is_duplicate, bool)
    assert_type(blocking.publish(USERS, user), Published)


async def subscriptions(broker: Broker, blocking: sync.SyncBroker) -> None:
    assert_type(broker.subscribe(PLAIN), Subscription[Any])
    assert_type(broker.subscribe("users.*"), Subscription[Any])
    async with broker.subscribe("users.*", User, group="audit") as named:
        assert_type((await anext(named)).value, User)
    async with broker.subscribe(USERS, group="audit", start=17, ordered=True) as messages:
        async for message in messages:
            assert_type(message, Message[User])
            assert_type(message.value, User)
            assert_type(await message.ack(), bool)
    with blocking.subscribe(USERS) as held:
        for one in held:
            assert_type(one.value, User)
            assert_type(one.nack(), bool)
