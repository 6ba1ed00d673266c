"""The connection to Redis in use by a broker: streams and scripts, many commands in one write, several threads."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import exceptions

from fastrpc import BrokerError
from fastrpc.registries.redis.server import RedisAccess, RedisClient
from tests.support.registry_servers import RedisServer

pytestmark = pytest.mark.one_loop

#: Adds a message once for each id; returns its place in the stream, "" for a repeated id.
ADD_ONCE = """
if not redis.call('SET', KEYS[2], '1', 'NX', 'EX', 120) then
    return ''
end
return redis.call('XADD', KEYS[1], '*', 'value', ARGV[1])
"""


@pytest.fixture
def client(own_redis: RedisServer) -> Iterator[RedisClient]:
    access = RedisAccess([("127.0.0.1", own_redis.port)], tls=None, login=None, db=0, error=BrokerError)
    with contextlib.closing(access.connect()) as client:
        yield client


def test_scripts_and_groups_of_one_write_have_their_answers_and_refusals(client: RedisClient) -> None:
    digest = client.ask(bytes, "SCRIPT", "LOAD", ADD_ONCE)
    add = ("EVALSHA", digest, 2, "orders", "id:17", "new")
    answers = client.pipeline(
        [
            (bytes, add),
            (bytes, add),
            (bytes, ("EVALSHA", "0" * 40, 0)),
            (bytes, ("XGROUP", "CREATE", "orders", "audit", "0")),
            (bytes, ("XGROUP", "CREATE", "orders", "audit", "0")),
            (list[list[object]], ("XREADGROUP", "GROUP", "audit", "one", "STREAMS", "orders", ">")),
            (list[list[object]], ("XREADGROUP", "GROUP", "none", "one", "STREAMS", "orders", ">")),
        ]
    )
    added, repeated, unknown, made, again, read, lost = answers
    assert repeated == b""
    assert read == [[b"orders", [[added, [b"value", b"new"]]]]]
    assert made == b"OK"
    assert [type(one) for one in (unknown, again, lost)] == [BrokerError] * 3
    assert isinstance(unknown.__cause__, exceptions.NoScriptError)
    assert ("BUSYGROUP" in again.message, "NOGROUP" in lost.message) == (True, True)
    assert client.ask(int, "XACK", "orders", "audit", added) == 1


def test_threads_share_one_connection_of_the_server(own_redis: RedisServer, client: RedisClient) -> None:
    def publish(thread: int) -> list[bytes]:
        found: list[bytes] = []
        for number in range(50):
            add = (bytes, ("XADD", f"topic:{thread}", "*", "value", number))
            found += client.pipeline([add] * 4)
            assert client.ask(int, "XLEN", f"topic:{thread}") == len(found)
        return found

    with ThreadPoolExecutor(2) as pool:
        published = list(pool.map(publish, range(2)))
    for thread, found in enumerate(published):
        kept = client.ask(list[tuple[bytes, list[bytes]]], "XRANGE", f"topic:{thread}", "-", "+")
        assert [place for place, _ in kept] == found
        assert len(found) == 200
    names = client.ask(bytes, "CLIENT", "LIST").decode().splitlines()
    assert len(names) == 1


def test_a_server_that_was_made_a_replica_refuses_and_is_left(
    own_redis: RedisServer, client: RedisClient
) -> None:
    before = client.ask(int, "CLIENT", "ID")
    own_redis.ask("REPLICAOF", "127.0.0.1", "1")
    (refused,) = client.pipeline([(bytes, ("XADD", "orders", "*", "value", "1"))])
    assert isinstance(refused, BrokerError)
    assert isinstance(refused.__cause__, exceptions.ReadOnlyError)
    own_redis.ask("REPLICAOF", "NO", "ONE")
    (added,) = client.pipeline([(bytes, ("XADD", "orders", "*", "value", "1"))])
    assert isinstance(added, bytes)
    assert client.ask(int, "CLIENT", "ID") != before
