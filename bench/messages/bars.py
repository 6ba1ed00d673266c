"""The promises about messages: the time of a message against other work of the same run."""

from typing import Final

from bench.beside.bars import Bar, Bound, Side

__all__ = ["BARS", "MEMORY"]

#: The kind of side that the backlog measures as well: MiB of the broker's memory.
MEMORY: Final = "memory"

CALL: Final = Side("call", "ours", "call")


def _row(sync: str) -> Side:
    return Side("row", "sqlite", sync)


def _ours(kind: str, sync: str = "normal") -> Side:
    return Side(f"ours {sync}", "ours", kind)


def _nats(client: str, kind: str, sync: str = "normal") -> Side:
    return Side(f"nats {sync}", client, kind)


def _redis(client: str, kind: str, sync: str = "normal") -> Side:
    return Side(f"redis {sync}", client, kind)


#: A rate of at least a share is a time of at most its reciprocal.
BARS: Final[tuple[Bar | Bound, ...]] = (
    *(
        Bar(
            f"publish to broker://, sync={sync}, 64 in flight",
            _ours("publish", sync),
            (CALL, _row(sync)),
            2,
            "times a call and a row of SQLite",
        )
        for sync in ("normal", "full")
    ),
    Bar(
        "publish, handle and ack through broker://, 64 under way",
        _ours("handled"),
        (CALL, CALL, _row("normal")),
        2.5,
        "times two calls and a row",
    ),
    *(
        Bar(f"{kind} through broker://", _ours(kind), (other(client, kind),), limit, f"times {client}")
        for kind in ("publish", "handled")
        for other, client, limit in (
            (_nats, "nats-py", 1 / 0.7),
            (_redis, "redis-py", 1.0),
            (_nats, "faststream", 1 / 3),
        )
    ),
    Bar(
        "publish to broker://, sync=full",
        _ours("publish", "full"),
        (_nats("nats-py", "publish", "full"),),
        1 / 3,
        "times JetStream that syncs always",
    ),
    Bar(
        "publish to broker://, sync=full",
        _ours("publish", "full"),
        (_redis("redis-py", "publish", "full"),),
        1,
        "times Redis that syncs always",
    ),
    Bar(
        "handle and ack with 200,000 messages behind",
        _ours("backlog"),
        (_ours("handled"),),
        2,
        "times a message of a group that keeps up",
    ),
    Bound(
        "memory of the broker beyond its start, with 200,000 messages behind",
        _ours(MEMORY),
        128,
        "MiB",
    ),
    Bar(
        "publish to nats://",
        _nats("ours", "publish"),
        (_nats("nats-py", "publish"),),
        1 / 0.85,
        "times nats-py",
    ),
    Bar(
        "publish, handle and ack through nats://",
        _nats("ours", "handled"),
        (_nats("nats-py", "handled"),),
        1 / 0.7,
        "times nats-py",
    ),
    Bar(
        "publish to redis://",
        _redis("ours", "publish"),
        (_redis("redis-py", "publish"),),
        1 / 0.85,
        "times redis-py",
    ),
    *(
        Bar(
            "from publish to the start of a handler, 1,000 a second",
            _ours("start"),
            (other(client, "start"),),
            1,
            f"times {client}",
        )
        for other, client in ((_nats, "nats-py"), (_redis, "redis-py"))
    ),
    Bar(
        "from publish to the start of a handler, 1,000 a second",
        _ours("start"),
        (Side("bare normal", "bare", "start"),),
        4,
        "times a bare program",
    ),
)
