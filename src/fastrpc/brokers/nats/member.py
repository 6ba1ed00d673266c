"""A member of a group: pulls messages, renews their lease, settles them.

::

    take ──pull──► server ──messages──► _ready ──take──► Held ──ack, nack, reject, hand_back──► settled
                                           └─── leased from their arrival; renewed until they are settled

One pull is open at a time. It requests all available messages, or waits for one. A member survives the loss of its
connection: it keeps its messages for their lease, and its next pull uses the new connection.
"""

import asyncio
import contextvars
import json
import logging
from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import Any, Final

from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from fastrpc.brokers.base import Delivery
from fastrpc.brokers.base.checks import check_pause
from fastrpc.brokers.local.counts import TopicCounts
from fastrpc.brokers.nats.groups import ConsumerGroup, Groups, nanoseconds
from fastrpc.brokers.nats.held import PULL_SECONDS, Held, Terms
from fastrpc.brokers.nats.jetstream import JetStream, status_of
from fastrpc.brokers.nats.letters import LetterStreams
from fastrpc.brokers.nats.link import JetStreamLink
from fastrpc.brokers.nats.messages import SCHEDULER, DeliveryNumbers, delivery_in, unread_delivery_in
from fastrpc.errors import BrokerError, DecodeError, copied_error
from fastrpc.registries.nats.connection import FAILURES
from fastrpc.status import Status

__all__ = ["NatsMembership", "removed"]

logger = logging.getLogger("fastrpc.broker")

#: _BEAT_SECONDS: seconds between two heartbeats of a pull. _SILENCE_SECONDS: seconds without a heartbeat after which
#: the group is checked.
_BEAT_SECONDS: Final = 2.0
_SILENCE_SECONDS: Final = 5.0

#: Seconds for which a message of a cancelled take is kept for the next take.
_GRACE_SECONDS: Final = 0.5

#: Part of a lease after which it is renewed.
_RENEWED_AFTER: Final = 1 / 3

#: Seconds for which a group may be missing during a seek.
_MOVE_SECONDS: Final = 1.0

#: The longest pause in seconds: JetStream counts nanoseconds in 64 bits.
_LONGEST_PAUSE: Final = 9e9

#: The reason of a dead letter whose fastrpc headers are malformed, because another program wrote them.
_UNREADABLE: Final = "its headers do not decode"

_SIGN_OF_LIFE: Final = "100"

#: Statuses that end a pull and after which the group may be gone: it was deleted or moved, or no server answers for
#: it.
_DOUBTS: Final = frozenset({"409", "503"})


class NatsMembership:
    """One member of a group.

    Args:
        run: identifies the stream, as in `id_of`.
        info: the answer of JetStream about the group's consumer.
        members: a set that contains this member until it leaves.
    """

    def __init__(
        self,
        link: JetStreamLink,
        groups: Groups,
        group: ConsumerGroup,
        run: str,
        info: Mapping[str, Any],
        members: set["NatsMembership"],
    ) -> None:
        self.group = group
        self._run = run
        self._link = link
        self._groups = groups
        self._letters = LetterStreams(link)
        loop = asyncio.get_running_loop()
        self._now = loop.time
        self._created = info["created"]
        self._missed = groups.missed(group, info)
        if self._missed is not None:
            self._missed.restart(info)
        self._terms = Terms.of(info["config"])
        self._held: dict[Held, None] = {}
        # Messages that have arrived and that no take has returned yet.
        self._ready: deque[Held] = deque()
        self._takes = 0
        self._woken = asyncio.Event()
        # `_stream`: the connection of the inbox. `_open`: messages that the open pull may still deliver; 0: no pull.
        self._stream: JetStream | None = None
        self._subscription: Any = None
        self._inbox = ""
        self._open = 0
        self._pulled_at = self._heard_at = self._now()
        # True if the server has reported that the group or this membership may no longer exist.
        self._is_doubted = False
        self._error: BrokerError | None = None
        self._under_way: set[asyncio.Task[None]] = set()
        self._keeper = loop.create_task(self._keep(), context=contextvars.Context())
        link.listeners.add(self._on_loss)
        self._members = members
        members.add(self)

    @property
    def _counts(self) -> TopicCounts:
        return self._link.counts[self.group.topic]

    # Messages

    async def take(self, most: int) -> Sequence[Delivery]:
        """Wait for messages, and return at least one."""
        self._takes += 1
        try:
            while True:
                if self._error is not None:
                    raise copied_error(self._error)
                if found := self._found(most):
                    return found
                await self._wait(most)
        except asyncio.CancelledError:
            if self._takes == 1:
                self._stop_pull()
            raise
        finally:
            self._takes -= 1

    def is_lost(self, token: Any) -> bool:
        """Return whether another member may already have the message."""
        return not token.is_settled and (token not in self._held or token.until <= self._now())

    async def ack(self, token: Any) -> bool:
        """Settle a message."""
        is_ours = await self._settle(token, b"+ACK")
        self._counts.acked += is_ours
        return is_ours

    async def ack_many(self, tokens: Sequence[Any]) -> Sequence[bool]:
        """Settle messages."""
        held: list[Held] = []
        for token in tokens:
            if not (token.is_settled or token.is_settling or self.is_lost(token)):
                token.is_settling = True
                held.append(token)
        try:
            failures = await self._link.ask_each([one.message.reply for one in held], b"+ACK")
        finally:
            for one in held:
                one.is_settling = False
        acked = {
            one for one, failure in zip(held, failures, strict=True) if failure is None and self._end(one)
        }
        self._counts.acked += len(acked)
        for one, failure in zip(held, failures, strict=True):
            if failure is not None:
                await self._explain(one, failure)
        outcomes: list[bool] = []
        for token in tokens:
            # The second occurrence of a token gives False.
            outcomes.append(token in acked)
            acked.discard(token)
        return outcomes

    async def nack(self, token: Any, delay: float) -> bool:
        """Deliver a message again after `delay` seconds. The current delivery counts."""
        check_pause(delay)
        pause = json.dumps({"delay": nanoseconds(min(delay, _LONGEST_PAUSE))})
        is_ours = await self._settle(token, b"-NAK " + pause.encode() if delay else b"-NAK")
        self._counts.retried += is_ours
        return is_ours

    async def hand_back(self, token: Any) -> bool:
        """Deliver a message again immediately. The server counts the current delivery."""
        return await self._settle(token, b"-NAK")

    async def reject(self, token: Any, reason: str, error: str) -> bool:
        """Make a message a dead letter of the group."""
        if token.is_settling or token.is_settled or self.is_lost(token):
            return False
        if self.group.name is None:
            logger.warning("a broadcast drops %r of %s: %s", token.delivery.id, token.delivery.topic, reason)
        else:
            await self._letters.keep(self.group, token.message, token.delivery, reason, error)
        is_ours = await self._settle(token, b"+TERM")
        self._counts.dead += is_ours
        return is_ours

    async def close(self) -> None:
        """Leave the group."""
        if self in self._members:
            self._members.discard(self)
            self._keeper.cancel()
            self._link.listeners.discard(self._on_loss)
            self.fail(BrokerError("the member has left its group", processed="no"))
            for task in list(self._under_way):
                task.cancel()
            if not self._link.is_closed:
                await self._leave()
            self._held.clear()

    # For the broker

    def fail(self, error: BrokerError) -> None:
        """End all takes."""
        self._error = self._error or error
        self._wake()

    def move(self, info: Mapping[str, Any]) -> None:
        """Drop all messages if JetStream's answer shows that the group was moved to another place."""
        if info["created"] != self._created:
            self._created = info["created"]
            if self._missed is not None:
                self._missed.restart(info)
            self._held.clear()
            self._ready.clear()
            self._open = 0
            self._wake()

    # Pulls

    def _found(self, most: int) -> list[Delivery]:
        found: list[Delivery] = []
        while self._ready and len(found) < most:
            held = self._ready.popleft()
            if self.is_lost(held):
                self._held.pop(held, None)
            elif held.delivery is not None:
                found.append(held.delivery)
        return found

    async def _wait(self, most: int) -> None:
        """Wait for a message, or for an event after which `take` checks its conditions again."""
        if self._is_doubted:
            await self._look()
        self._woken.clear()
        stream = await self._link.connected()
        if stream is not self._stream:
            await self._listen(stream)
        if not self._open:
            await self._pull(stream, most)
        await self._woken.wait()

    async def _listen(self, stream: JetStream) -> None:
        inbox = stream.client.new_inbox()
        subscription = await stream.subscribe(inbox, partial(self._receive, inbox))
        self._stream, self._subscription, self._inbox, self._open = stream, subscription, inbox, 0

    async def _pull(self, stream: JetStream, most: int) -> None:
        batch = min(most, self._terms.most)
        request = {
            "batch": batch,
            "no_wait": True,
            "expires": nanoseconds(PULL_SECONDS),
            "idle_heartbeat": nanoseconds(_BEAT_SECONDS),
        }
        self._open, self._pulled_at = batch, self._now()
        self._heard_at = self._pulled_at
        try:
            await stream.client.publish(self._next, json.dumps(request).encode(), self._inbox)
        except FAILURES as error:
            self._open = 0
            raise self._link.failure(error, processed="no") from error

    @property
    def _next(self) -> str:
        return f"$JS.API.CONSUMER.MSG.NEXT.{self.group.place}"

    async def _receive(self, inbox: str, message: Msg) -> None:
        is_present = inbox == self._inbox
        status = status_of(message)
        if status is None:
            if is_present:
                self._open = max(self._open - 1, 0)
            self._hold(message)
        elif is_present and status != _SIGN_OF_LIFE:
            self._open = 0
            self._is_doubted = self._is_doubted or status in _DOUBTS
        self._heard_at = self._now()
        if status != _SIGN_OF_LIFE:
            self._wake()

    def _hold(self, message: Msg) -> None:
        held = Held(message, None, self._now() + self._terms.lease_seconds)
        reply = DeliveryNumbers.of(message)
        if self._missed is not None:
            was_delayed = message.headers is not None and SCHEDULER in message.headers
            self._missed.note(reply, was_delayed=was_delayed)
        self._held[held] = None
        parts = message, reply, self._link.names, self._run, held
        try:
            held.delivery = delivery_in(*parts)
        except DecodeError as error:
            # Make it a dead letter: another delivery would fail in the same way.
            held.delivery = unread_delivery_in(*parts)
            self._begun(self._bury(held, str(error)))
        else:
            self._ready.append(held)

    async def _bury(self, held: Held, error: str) -> None:
        """Make an undecodable message a dead letter. If that fails, it is delivered again after its lease."""
        assert held.delivery is not None
        name = f"{held.delivery.id!r} of {held.delivery.topic}"
        logger.warning("%s is a dead letter of %s: %s", name, self._told_name, error)
        try:
            await self.reject(held, _UNREADABLE, error)
        except Exception as failure:
            logger.warning("%s could not be made a dead letter yet: %s", name, failure)
            self._held.pop(held, None)

    def _stop_pull(self) -> None:
        """End the open pull of a cancelled take. A message that still arrives is kept for the next take."""
        if self._open:
            self._begun(self._ended(self._subscription))
            self._stream, self._subscription, self._inbox, self._open = None, None, "", 0

    def _begun(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _ended(self, subscription: Any) -> None:
        """End a subscription; hand back its messages unless another take asks for them."""
        try:
            await self._link.drained(subscription)
            await asyncio.sleep(_GRACE_SECONDS)
            while self._ready and not self._takes:
                await self._return(self._ready.popleft())
        except BrokerError as error:
            logger.info("messages for a cancelled take are delivered again after their lease: %s", error)

    async def _return(self, held: Held) -> None:
        """Hand back a message that no take has returned. BrokerError: it is delivered again after its lease."""
        try:
            await self.hand_back(held)
        finally:
            # Remove it first, so that its lease is not renewed.
            self._held.pop(held, None)

    def _wake(self) -> None:
        self._woken.set()

    def _on_loss(self) -> None:
        self._stream, self._subscription, self._inbox, self._open = None, None, "", 0
        self._wake()

    # Settling

    async def _settle(self, token: Any, verb: bytes) -> bool:
        if token.is_settled or token.is_settling or self.is_lost(token):
            return False
        token.is_settling = True
        try:
            await self._link.ask(token.message.reply, verb)
        except NoRespondersError as error:
            await self._explain(token, error)
            return False
        finally:
            token.is_settling = False
        return self._end(token)

    def _end(self, token: Held) -> bool:
        """Remove a settled message; return False if it was no longer held, because the group was moved."""
        if self._held.pop(token, self) is self:
            return False
        token.is_settled = True
        return True

    async def _explain(self, token: Held, failure: Exception) -> None:
        """Raise the error of a settlement, unless the group is gone and so the message is lost."""
        if not isinstance(failure, NoRespondersError):
            raise failure
        await self._look()
        if not self.is_lost(token):
            raise self._link.failure(failure, processed="no") from failure

    async def _leave(self) -> None:
        """Hand back all messages; remove the group if it is a broadcast."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None and self._stream is not None and not self._stream.is_lost:
            await self._link.drained(subscription)
        if self.group.name is None:
            await self._link.find(f"CONSUMER.DELETE.{self.group.place}")
        else:
            held = [one for one in self._held if not (one.is_settling or self.is_lost(one))]
            await asyncio.gather(*(self._link.ask(one.message.reply, b"-NAK") for one in held))

    # The lease and the group

    async def _keep(self) -> None:
        """Renew leases, and keep the group from expiring."""
        tick = min(self._terms.lease_seconds * _RENEWED_AFTER, self._terms.idle_seconds, _BEAT_SECONDS)
        while self in self._members:
            await asyncio.sleep(tick)
            try:
                await self._renew()
                if self._missed is not None and self._missed.has_gaps:
                    await self._groups.explain(self.group, self._missed)
                if self._takes:
                    self._watch()
                elif self._now() - self._pulled_at > self._terms.idle_seconds:
                    await self._touch()
            except (BrokerError, NoRespondersError) as error:
                # The next take reports the error. Messages whose lease expires count as lost.
                logger.debug("the lease of messages of %s is not renewed: %s", self._told_name, error)
            except Exception:
                # Continue, so that other leases are renewed and silent pulls are noticed.
                logger.exception("the lease of messages of %s is not renewed", self._told_name)

    @property
    def _told_name(self) -> str:
        return self.group.name or f"a broadcast of {self.group.topic}"

    async def _renew(self) -> None:
        now = self._now()
        soon = now + self._terms.lease_seconds * (1 - _RENEWED_AFTER)
        due: list[Held] = []
        for one in [held for held in self._held if held.until <= soon and not held.is_settling]:
            if one.until > now:
                due.append(one)
            else:
                del self._held[one]
        await asyncio.gather(*(self._renewed(one, now) for one in due))

    async def _renewed(self, held: Held, now: float) -> None:
        await self._link.ask(held.message.reply, b"+WPI")
        # An expired lease is not renewed: the subscriber has forgotten the lost message, so renewals would never stop.
        if self._now() < held.until:
            held.until = now + self._terms.lease_seconds

    def _watch(self) -> None:
        """Let a take check the group if its pull has no heartbeats."""
        if self._open and self._now() - self._heard_at > _SILENCE_SECONDS:
            self._open, self._is_doubted = 0, True
            self._wake()

    async def _touch(self) -> None:
        """Send a pull that no message fits, so that the server sees that the group has a member."""
        self._pulled_at = self._now()
        await self._link.ask(self._next, b'{"batch": 1, "no_wait": true, "max_bytes": 1}')

    async def _look(self) -> None:
        """Check that the group still exists and was not replaced by another group of its name.

        Raises:
            BrokerError: the group was removed; or JetStream has lost it, in which case the error is retryable.
        """
        end = self._now() + _MOVE_SECONDS
        while (info := await self._groups.info(self.group)) is None:
            # During a seek the group is missing for a moment.
            if self._error is None and self._now() > end:
                self.fail(await self._gone())
            if self._error is not None:
                raise copied_error(self._error)
            await asyncio.sleep(0.05)
        self._is_doubted = False
        self.move(info)

    async def _gone(self) -> BrokerError:
        name = self.group.name
        if name is not None and await self._groups.find(name) is None:
            return removed(name)
        text = f"NATS has lost the group {name or 'of a broadcast'} of {self.group.topic}"
        logger.error("%s", text)
        return BrokerError(text, processed="no", retryable=True)


def removed(name: str) -> BrokerError:
    """Return the error of a member whose group was removed."""
    return BrokerError(f"the group {name} was removed", status=Status.NOT_FOUND, processed="no")
