"""The wait for the endpoint of a key: once for each call, and once for each dial."""

from fastrpc import Backoff, ConnectError, Endpoint
from fastrpc.client.endpoint_plan import EndpointPlan
from fastrpc.client.key_wait import KeyWait


class Place(EndpointPlan):
    """An endpoint without a connection."""

    connections = ()


def endpoint() -> EndpointPlan:
    return Place(Endpoint("tcp://10.0.0.1:1"), Backoff())


def test_a_call_waits_for_the_time_of_a_dial() -> None:
    assert KeyWait(1.0).ends(endpoint(), 100.0, None) == 101.0
    assert KeyWait(None).ends(endpoint(), 100.0, None) == float("inf")


def test_a_call_waits_for_half_of_its_time() -> None:
    assert KeyWait(1.0).ends(endpoint(), 100.0, 0.5) == 100.25
    assert KeyWait(None).ends(endpoint(), 100.0, 0.5) == 100.25
    assert KeyWait(1.0).ends(endpoint(), 100.0, 0.0) is None


def test_all_waits_of_a_call_share_the_time_of_the_first() -> None:
    wait, first, second, third = KeyWait(1.0), endpoint(), endpoint(), endpoint()
    wait.begin(first, 100.0, None)
    first.is_dialing = second.is_dialing = True
    assert wait.ends(second, 100.75, None) == 101.0
    assert wait.ends(second, 101.0, None) is None
    # The dial of this one has not begun.
    assert wait.ends(third, 101.0, None) == 102.0


def test_a_call_without_a_connection_waits_for_each_endpoint_by_turns() -> None:
    wait, first, second = KeyWait(1.0), endpoint(), endpoint()
    first.is_dialing = second.is_dialing = True
    wait.begin(first, 100.0, 4.0)
    wait.renew()
    assert wait.ends(first, 101.0, 3.0) is None
    assert wait.ends(second, 101.0, 3.0) == 102.0
    assert wait.ends(second, 103.5, 0.5) == 103.75


def test_a_dial_is_waited_for_once() -> None:
    silent = endpoint()
    KeyWait(1.0).begin(silent, 100.0, None)
    assert KeyWait(1.0).ends(silent, 100.5, None) == 101.0
    assert KeyWait(1.0).ends(silent, 101.0, None) is None
    # A call that has less time has waited as long already.
    assert KeyWait(1.0).ends(silent, 100.5, 0.8) is None
    silent.answered()
    assert KeyWait(1.0).ends(silent, 102.0, None) == 103.0


def test_an_endpoint_whose_last_dial_failed_is_not_waited_for() -> None:
    failed = endpoint()
    failed.note_failure(ConnectError("refused"), 100.0)
    assert KeyWait(1.0).ends(failed, 100.0, None) is None


def test_an_endpoint_that_is_gone_is_not_waited_for() -> None:
    gone = endpoint()
    gone.is_removed = True
    assert KeyWait(1.0).ends(gone, 100.0, None) is None


def test_an_endpoint_that_lost_its_connection_is_waited_for() -> None:
    lost = endpoint()
    lost.answered()
    lost.ended(was_ready=True, lived=60.0, reason="closed", at=100.0)
    assert KeyWait(1.0).ends(lost, 100.0, None) == 101.0


def test_a_server_that_repeatedly_asks_for_other_connections_is_not_waited_for() -> None:
    leaving = endpoint()
    for number in range(3):
        leaving.ended(was_ready=True, lived=0.001, reason="it drains", at=100.0 + number, is_replaced=True)
    assert leaving.is_awaited
    assert KeyWait(1.0).ends(leaving, 100.0, None) is None
