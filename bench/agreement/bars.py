"""The promises about stores and locks: the time of our operation against that of another stack in the same run."""

from bench.beside.bars import Bar, Side

__all__ = ["BARS"]

#: A rate of at least a share is a time of at most its reciprocal.
BARS = (
    Bar(
        "get through store://, 64 in flight",
        Side("store", "ours", "get"),
        (Side("echo", "ours", "echo"),),
        1 / 0.4,
        "times an echo of the same size",
    ),
    Bar(
        "get through store://, 64 in flight",
        Side("store", "ours", "get"),
        (Side("etcd", "etcd's", "get"),),
        1 / 3,
        "times a serializable read of etcd",
    ),
    Bar(
        "put through store://, 64 in flight, each on the disk",
        Side("store", "ours", "put"),
        (Side("etcd", "etcd's", "put"),),
        1,
        "times a put of etcd",
    ),
    Bar(
        "lock and release through store://, one after the other",
        Side("store", "ours", "lock"),
        (Side("etcd", "etcd's", "lock"),),
        1 / 0.5,
        "times a Mutex of Go's concurrency",
    ),
    Bar(
        "hand-over of a lock of store:// that 64 wait for",
        Side("store", "ours", "waiters"),
        (Side("etcd", "etcd's", "waiters"),),
        1.5,
        "times that of a Mutex",
    ),
    # The bar is not 3 times a Mutex, which makes two requests in a kept session. Each of our locks has a separate
    # lease, and its four requests pass the JSON gateway: these requests alone take longer than that.
    Bar(
        "lock and release through etcd://, one after the other",
        Side("etcd", "ours", "lock"),
        (Side("etcd", "ours", "gateway"),),
        1.5,
        "times its four requests alone",
    ),
    Bar(
        "processor time of the store for a change that it delivers to one of 1,000 watchers",
        Side("store", "ours", "watch"),
        (Side("etcd", "etcd's", "watch"),),
        2,
        "times that of etcd",
    ),
)
