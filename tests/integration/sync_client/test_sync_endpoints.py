"""The endpoints of a blocking client's calls: several servers, lost ones, restarted ones, none; and its end."""

import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from fastrpc import (
    Backoff,
    ClientConfig,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
    Pool,
    SyncClient,
    Timeouts,
    UnavailableError,
)
from fastrpc.testing import serving
from tests.support.desk import Desk


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def tcp_address(desk: Desk) -> Iterator[str]:
    with serving(desk) as address:
        yield address


# Endpoints


def test_calls_use_every_address_by_turns() -> None:
    desks = [Desk() for _ in range(3)]
    with ExitStack() as stack:
        addresses = [stack.enter_context(serving(desk)) for desk in desks]
        client = stack.enter_context(SyncClient(addresses))
        for _ in range(6):
            client.call(Desk.whoami)
        counts: dict[int, int] = {}
        for _ in range(30):
            who = client.call(Desk.whoami)
            counts[who] = counts.get(who, 0) + 1
    assert counts == {id(desk): 10 for desk in desks}


def test_dead_address_is_left_out(tcp_address: str) -> None:
    with SyncClient(["tcp://127.0.0.1:9", tcp_address]) as client:
        assert [client.call(Desk.mul, number) for number in range(20)] == list(range(0, 40, 2))


def test_error_names_every_address_that_was_tried() -> None:
    addresses = ["tcp://127.0.0.1:9", "unix:///nowhere/socket", "memory://nobody"]
    with SyncClient(addresses) as client, pytest.raises(ConnectError) as caught:
        client.call(Desk.mul, 1)
    for address in addresses:
        assert address in str(caught.value)
    assert "refused" in str(caught.value)
    assert str(caught.value).startswith("desk.mul: ")
    assert caught.value.processed == "no"


def test_failures_are_followed_by_a_pause() -> None:
    config = ClientConfig(backoff=Backoff(first=30))
    with SyncClient("tcp://127.0.0.1:9", config=config) as client:
        with pytest.raises(ConnectError):
            client.call(Desk.mul, 1)
        # The second call fails by the known error: no attempt is made, so a server that came is not found.
        with pytest.raises(ConnectError, match="refused"):
            client.call(Desk.mul, 1)


@pytest.mark.parametrize(
    ("use", "place"), [("acquire", "_publish"), ("acquire", "_dial"), ("warm_up", "_dial")]
)
def test_an_interrupt_on_the_way_to_a_dial_leaves_it_to_the_next_call(
    use: str, place: str, tcp_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        # As Ctrl+C does before the first line of a function.
        monkeypatch.undo()
        raise KeyboardInterrupt

    with SyncClient(tcp_address, config=ClientConfig(pool=Pool(warm=1))) as client:
        pool = client._pool
        monkeypatch.setattr(pool, place, interrupted)
        with pytest.raises(KeyboardInterrupt):
            pool.acquire(None, wait=True) if use == "acquire" else pool.warm_up(None)
        assert client.with_options(timeout=20).call(Desk.mul, 6, 7) == 42


def test_waiting_for_a_server_that_comes(desk: Desk, tmp_path: Path) -> None:
    address = f"unix://{tmp_path / 'socket'}"
    config = ClientConfig(backoff=Backoff(first=0.01, longest=0.05))
    with SyncClient(address, config=config) as client, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(client.with_options(wait_for_ready=True).call, Desk.mul, 6, 7)
        while not client.stats()["live"]["connections"] and not answer.done():
            with serving(desk, address=address):
                assert answer.result(20) == 42


def test_waiting_for_a_server_ends_at_the_deadline() -> None:
    with SyncClient("tcp://127.0.0.1:9") as client:
        with pytest.raises(DeadlineExceededError, match="refused") as caught:
            client.with_options(wait_for_ready=True, timeout=0.2).call(Desk.mul, 1)
        assert caught.value.processed == "no"


def test_ready_returns_once_a_server_answers(tcp_address: str) -> None:
    with SyncClient(tcp_address) as client:
        client.ready(5)
        assert client.stats()["live"]["connections"] == 1


def test_ready_gives_up_and_says_why() -> None:
    with (
        SyncClient("tcp://127.0.0.1:9") as client,
        pytest.raises(DeadlineExceededError, match=r"not ready within 0\.1 s: .*refused"),
    ):
        client.ready(0.1)


def test_server_that_restarts_costs_no_call(desk: Desk, tmp_path: Path) -> None:
    address = f"unix://{tmp_path / 'socket'}"
    with SyncClient(address, config=ClientConfig(backoff=Backoff(first=0.001))) as client:
        for _ in range(5):
            with serving(desk, address=address):
                assert [client.call(Desk.mul, number) for number in range(20)] == list(range(0, 40, 2))


def test_calls_under_way_move_on_when_a_server_drains(tmp_path: Path) -> None:
    config = ClientConfig(backoff=Backoff(first=0.001))
    failures: list[BaseException] = []
    stopping = threading.Event()
    with ExitStack() as stack:
        steady = stack.enter_context(serving(Desk()))
        # A port could be another test's by the time the client looks for this server again.
        leaving = serving(Desk(), address=f"unix://{tmp_path / 'leaving'}")
        client = stack.enter_context(SyncClient([steady, leaving.__enter__()], config=config))

        def ask() -> int:
            done = 0
            while not stopping.is_set():
                try:
                    client.call(Desk.mul, 6, 7)
                    done += 1
                except BaseException as error:
                    failures.append(error)
            return done

        with ThreadPoolExecutor(4) as pool:
            asking = [pool.submit(ask) for _ in range(4)]
            try:
                while client.stats()["live"]["connections"] < 2:
                    client.call(Desk.mul, 1)
                leaving.__exit__(None, None, None)
                for _ in range(100):
                    client.call(Desk.mul, 1)
            finally:
                stopping.set()
            assert all(asked.result() for asked in asking)
    assert failures == []


# The end


def test_close_is_final_and_may_be_repeated(tcp_address: str) -> None:
    client = SyncClient(tcp_address)
    client.call(Desk.mul, 1)
    client.close()
    client.close()
    with pytest.raises(UnavailableError, match="the client is closed"):
        client.call(Desk.mul, 1)


@pytest.mark.measures
def test_close_is_quick_when_the_server_answers_it(tcp_address: str) -> None:
    client = SyncClient(tcp_address, config=ClientConfig(timeouts=Timeouts(linger=20)))
    client.call(Desk.mul, 1)
    started = time.monotonic()
    client.close()
    assert time.monotonic() - started < 5


def test_close_ends_the_calls_of_other_ThreadPoolExecutor(desk: Desk, tcp_address: str) -> None:
    other = SyncClient(tcp_address)
    other.call(Desk.mul, 1)
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(other.call, Desk.wait) for _ in range(3)]
        assert desk.is_waiting.wait(20)
        while other.stats()["live"]["calls"] < 3:
            other.call(Desk.mul, 1)
        other.close()
        for call in waiting:
            error = call.exception(5)
            assert isinstance(error, ConnectionLostError)
            assert error.processed == "unknown"


def test_view_can_be_kept_but_not_entered_or_closed() -> None:
    view = SyncClient("tcp://127.0.0.1:9").with_options(timeout=3)
    with pytest.raises(TypeError, match="view"):
        view.close()
    with pytest.raises(TypeError, match="view"):
        view.__enter__()


# The collector finalizes the client and its socket in any order, and the socket may warn as well.
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
def test_client_left_open_warns(tcp_address: str) -> None:
    with pytest.warns(ResourceWarning, match="unclosed SyncClient of tcp://"):
        call_and_forget(tcp_address)


def call_and_forget(address: str) -> None:
    assert SyncClient(address).call(Desk.mul, 6, 7) == 42
    gc.collect()
