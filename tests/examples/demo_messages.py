"""Messages of a broker, and subscribers that repeat them, give one up and are killed.

`fastrpc run demo_messages:Billing --broker broker://…` serves a member of the group `billing`.
"""

import asyncio
import os
import signal
import tempfile
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from demo_process import Process, check, say

import fastrpc
from fastrpc.brokers import Broker, GroupState, Subscription, current_broker, open_broker

__all__ = ["Billing", "show_messages"]

#: In the folder of the servers: customers that have an account, one a line.
CUSTOMERS = Path("customers.txt")


@dataclass
class Order:
    customer: str
    price: int


@dataclass
class Bill:
    """The effect of a message, and where it came about."""

    order: str
    delivery: int
    process: int

    #: Whether an earlier delivery had written the bill: nothing was written.
    is_known: bool = False


orders = fastrpc.Topic("demo.orders", Order)
bills = fastrpc.Topic("demo.bills", Bill)


@fastrpc.service("billing")
class Billing:
    """Has no method that callers reach, only a subscriber."""

    @fastrpc.subscriber(orders, group="billing")
    async def bill(self, message: fastrpc.Message[Order]) -> None:
        """Publish a bill under the id of the order: the broker keeps one of each id."""
        if message.value.customer == "busy" and message.delivery == 1:
            raise fastrpc.CallError(fastrpc.Status.UNAVAILABLE, "the bank is closed", retry_after=0.1)
        if message.value.customer not in CUSTOMERS.read_text().split():
            raise fastrpc.CallError(fastrpc.Status.INVALID_ARGUMENT, "this customer has no account")
        if message.value.customer == "fatal" and message.delivery == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(0.01)
        bill = Bill(message.id, message.delivery, os.getpid())
        published = await current_broker().publish(bills, bill, id=f"bill-{message.id}")
        if published.is_duplicate:
            await current_broker().publish(bills, replace(bill, is_known=True))


class Bills:
    """The bills that have come."""

    def __init__(self, messages: Subscription[Bill]) -> None:
        self._messages = messages

    async def take(self, count: int) -> list[Bill]:
        """Return the next bills."""
        found = []
        for _ in range(count):
            message = await anext(self._messages)
            await message.ack()
            found.append(message.value)
        return found


async def show_messages() -> None:
    """Run a broker and two members of a group."""
    say("Messages: fastrpc broker; fastrpc run demo_messages:Billing --broker broker://…, twice")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        (folder / CUSTOMERS).write_text("anna busy fatal")
        server = Process("broker", "--address", "tcp://127.0.0.1:0", "--data-dir", str(folder / "kept"))
        stack.callback(server.close)
        url = await asyncio.to_thread(server.wait_started, "urls")
        members = [_member(url, folder) for _ in range(2)]
        for member in members:
            stack.callback(member.close)
            await asyncio.to_thread(member.wait_started, "addresses")
        async with open_broker(url) as broker, broker.subscribe(bills, group="demo") as messages:
            came = Bills(messages)
            await _show_group(broker, came)
            await _show_retry(broker, came)
            await _show_dead_letter(broker, came, folder)
            left = await _show_killed_member(broker, came, members)
        ended = [await asyncio.to_thread(process.stop) for process in (left, server)]
        check(ended == [0, 0], "subscriber and broker drain on SIGTERM and end with 0")


def _member(url: str, folder: Path) -> Process:
    return Process(
        "run", "demo_messages:Billing", "--address", "tcp://127.0.0.1:0", "--broker", url, folder=folder
    )


async def _state(broker: Broker, group: str) -> GroupState | None:
    return next((state for state in await broker.groups() if state.name == group), None)


async def _show_group(broker: Broker, came: Bills) -> None:
    while (state := await _state(broker, "billing")) is None or state.members < 2:
        await asyncio.sleep(0.02)
    await broker.publish_many(orders, [Order("anna", 40)] * 100, ids=[f"first-{n}" for n in range(100)])
    found = await came.take(100)
    shares = Counter(bill.process for bill in found)
    check(len({bill.order for bill in found}) == 100, "100 messages were handled, each of them once")
    check(len(shares) == 2, f"the members of a group share them: {' and '.join(map(str, shares.values()))}")


async def _show_retry(broker: Broker, came: Bills) -> None:
    await broker.publish(orders, Order("busy", 40), id="retried")
    (bill,) = await came.take(1)
    check(
        (bill.order, bill.delivery) == ("retried", 2),
        "a handler raised: the message came again, handled at delivery 2",
    )


async def _show_dead_letter(broker: Broker, came: Bills, folder: Path) -> None:
    await broker.publish(orders, Order("bert", 40), id="given-up")
    while not (dead := await broker.dead_letters("billing")):
        await asyncio.sleep(0.02)
    check(
        [letter.id for letter in dead] == ["given-up"],
        f"INVALID_ARGUMENT makes a dead letter: {dead[0].reason}",
    )
    (folder / CUSTOMERS).write_text("anna busy bert fatal")
    check(await broker.replay("billing") == 1, "the cause is mended, and the dead letter replayed")
    (bill,) = await came.take(1)
    check((bill.order, bill.delivery) == ("given-up", 1), "it was handled")


async def _show_killed_member(broker: Broker, came: Bills, members: list[Process]) -> Process:
    """Let one of two members be killed while it handles messages; return the other one."""
    ids = [f"second-{n}" for n in range(499)]
    await broker.publish_many(orders, [Order("anna", 40)] * 499, ids=ids)
    found = await came.take(100)
    await broker.publish(orders, Order("fatal", 40), id="second-499")
    async with asyncio.timeout(30):
        while not (ended := [process for process in members if process.has_ended]):
            await asyncio.sleep(0.02)
    say("      one member is killed (-9) while it handles messages")
    while len({bill.order for bill in found}) < 500:
        found += await came.take(1)
    while (state := await _state(broker, "billing")) is None or state.lag:
        await asyncio.sleep(0.02)
    left = await _state(broker, "demo")
    assert left is not None
    found += await came.take(left.lag)
    written = [bill.order for bill in found if not bill.is_known]
    again = sum(bill.delivery > 1 for bill in found)
    check(
        len(written) == len(set(written)) == 500,
        "500 of 500 messages were handled: the other member got them",
    )
    check(
        again > 0,
        f"{again} of them came again; {len(found) - 500} had a bill, which its id told, and got no second one",
    )
    check((state.lag, state.dead, state.members) == (0, 0, 1), "nothing is left: lag 0, dead 0, 1 member")
    return next(process for process in members if process not in ended)


if __name__ == "__main__":
    asyncio.run(show_messages())
