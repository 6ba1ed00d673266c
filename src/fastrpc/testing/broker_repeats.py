"""The tests of repeated publications, a part of the broker contract."""

import pytest
from msgspec.structs import replace

from fastrpc.brokers.base import BrokerBackend, GroupSettings, OutgoingMessage, TopicSettings

__all__ = ["RepeatContract"]

_FIRST = OutgoingMessage("orders.new", b"1", made_id="0123-1")


class RepeatContract:
    """The tests. They are skipped for a broker whose limits do not support repeats."""

    @pytest.mark.parametrize("settings", [{}, {"keep_seconds": None, "groups": ("g",)}], ids=["log", "queue"])
    async def test_a_repeated_publication_is_kept_once(
        self, broker: BrokerBackend, settings: dict[str, object]
    ) -> None:
        if not broker.limits.finds_repeats:
            return
        await broker.declare(TopicSettings("orders.new", **settings))  # type: ignore[arg-type]
        member = await broker.join(GroupSettings("g", "orders.new"))
        (kept,) = await broker.publish([_FIRST])
        assert not kept.is_duplicate
        (again,) = await broker.publish([replace(_FIRST, age=0.5)])
        assert (again.id, again.sequence, again.is_duplicate) == (kept.id, kept.sequence, True)
        (one,) = await member.take(5)
        assert one.id == kept.id
        assert await member.ack(one.token)
        # The group has handled the message, so a queue does not store it any more.
        other = OutgoingMessage("orders.new", b"2", made_id="0123-2")
        found = await broker.publish([replace(_FIRST, age=1.0), replace(other, age=1.0)])
        assert [one.is_duplicate for one in found] == [True, False]
        (late,) = await broker.publish([other])
        assert (late.sequence, late.is_duplicate) == (found[1].sequence, True)
        assert [one.body for one in await member.take(5)] == [b"2"]
