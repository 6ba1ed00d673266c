"""What both clients do about their connections, with a test clock and connections that only state their kind."""

import logging
from dataclasses import dataclass
from typing import Any

import pytest

from fastrpc._core.balancing.endpoint_set import EndpointSet
from fastrpc.client.endpoint_plan import EndpointPlan
from fastrpc.client.plan import ConnectionPlan, Patience
from fastrpc.client.reach_errors import MOST_NAMED, unreachable
from fastrpc.config import Backoff
from fastrpc.endpoint import Endpoint
from fastrpc.errors import ConfigError, ConnectError, FastRPCError
from fastrpc.selectors import RoundRobin
from fastrpc.testing import FakeClock


@dataclass(eq=False)
class Connected:
    is_ready: bool = True
    is_aged: bool = False
    is_usable: bool = True

    @property
    def life(self) -> Any:
        return self

    def retire(self) -> None:
        raise AssertionError("the plan retires nothing by itself")


class Place(EndpointPlan):
    """An endpoint whose connections are a list; its pauses have no jitter."""

    def __init__(self, endpoint: Endpoint, *, width: int = 1) -> None:
        super().__init__(
            endpoint, Backoff(first=0.1, longest=0.4, factor=2), lambda low, high: 1.0, width=width
        )
        self.held: list[Connected] = []

    @property
    def connections(self) -> list[Connected]:
        return self.held


def place(port: int = 1, *, width: int = 1) -> Place:
    return Place(Endpoint(f"tcp://127.0.0.1:{port}"), width=width)


def refused() -> ConnectError:
    return ConnectError("refused")


def is_connected(each: Place) -> bool:
    return bool(each.held)


def some(count: int) -> list[Endpoint]:
    return [Endpoint(f"tcp://127.0.0.1:{port}") for port in range(1, count + 1)]


def plan_of(count: int, warm: int = 8) -> ConnectionPlan[Place]:
    endpoint_set = EndpointSet(RoundRobin())
    plan = ConnectionPlan("somebody", endpoint_set, warm, Place)
    plan.take(some(count))
    plan.choose()
    return plan


class TestPauses:
    def test_each_failed_dial_is_followed_by_a_longer_pause_up_to_the_longest(self) -> None:
        one, now, pauses = place(), 10.0, []
        for _ in range(5):
            one.note_failure(refused(), now)
            pauses.append(one.pause_left(now))
            now = one.due
        assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.4, 0.4])
        assert one.failures == 5

    def test_a_pause_ends_at_its_instant(self) -> None:
        one = place()
        one.note_failure(refused(), 10.0)
        assert not ConnectionPlan.may_dial(one, 10.05)
        assert one.pause_left(10.05) == pytest.approx(0.05)
        assert ConnectionPlan.may_dial(one, 10.2)
        assert one.pause_left(99.0) == 0

    def test_a_server_that_answers_ends_the_error_and_makes_pauses_short_again(self) -> None:
        one = place()
        for _ in range(3):
            one.note_failure(refused(), 10.0)
        one.answered()
        assert one.error is None
        one.note_failure(refused(), 20.0)
        assert one.pause_left(20.0) == pytest.approx(0.1)

    def test_a_connection_that_ends_in_its_opening_counts_as_a_failure(self) -> None:
        one = place()
        one.ended(was_ready=False, lived=60.0, reason="eof", at=10.0)
        assert one.error is not None
        assert "tcp://127.0.0.1:1: the connection ended during its handshake: eof" in str(one.error)
        assert one.failures == 1
        assert one.due == pytest.approx(10.1)

    def test_a_connection_that_ends_right_after_the_settings_counts_as_a_failure(self) -> None:
        one = place()
        one.answered()
        one.ended(was_ready=True, lived=0.05, reason="eof", at=10.0)
        assert "ended the connection after 0.050 s: eof" in str(one.error)
        assert one.failures == 1
        assert one.due == pytest.approx(10.1)

    def test_a_connection_that_the_server_has_replaced_is_made_again_at_once(self) -> None:
        one = place()
        one.answered()
        one.ended(was_ready=True, lived=0.05, reason="it is old", at=10.0, is_replaced=True)
        assert (one.error, one.failures, one.pause_left(10.0)) == (None, 0, 0)

    def test_an_aged_connection_that_ends_early_is_made_again_at_once(self) -> None:
        one = place()
        for at in range(10, 20):
            one.answered()
            one.ended(was_ready=True, lived=0.05, reason="the server closed it", at=at, is_aged=True)
            assert (one.error, one.failures, one.pause_left(at)) == (None, 0, 0)

    def test_connections_that_are_replaced_early_one_after_the_other_are_made_with_pauses(self) -> None:
        one, found = place(), []
        for at, lived in enumerate((0.05, 0.05, 0.05, 0.5, 0.05, 0.05), 10):
            one.answered()
            one.ended(was_ready=True, lived=lived, reason="it is old", at=at, is_replaced=True)
            found.append((one.pause_left(at) > 0, one.may_come))
        # A call waits for the end of the pause, as nothing has failed.
        assert found == [
            (False, False),
            (True, True),
            (True, True),
            (False, False),
            (False, False),
            (True, True),
        ]
        assert (one.error, one.failures) == (None, 0)

    def test_connections_that_one_restart_replaces_count_once(self) -> None:
        one, pauses = place(width=8), []
        one.workers = 2
        for at in (10.0, 11.0, 12.0):
            one.answered()
            for _ in range(8):
                one.ended(was_ready=True, lived=0.05, reason="it drains", at=at, is_replaced=True)
            pauses.append(one.pause_left(at) > 0)
        assert pauses == [False, False, True]

    def test_a_server_that_replaces_every_connection_has_failed_in_the_end(self) -> None:
        one, failures, awaited = place(), [], []
        for at in range(10, 18):
            one.answered()
            one.ended(was_ready=True, lived=0.05, reason="it drains", at=at, is_replaced=True)
            failures.append(one.failures)
            awaited.append(one.may_come)
        assert failures == [0] * 6 + [1, 2]
        assert awaited == [False] + [True] * 5 + [False] * 2

    def test_an_old_connection_that_ends_in_the_pause_does_not_end_the_wait(self) -> None:
        one = place(width=2)
        for at, lived in ((10.0, 0.05), (11.0, 0.05), (11.0, 5.0)):
            one.ended(was_ready=True, lived=lived, reason="it drains", at=at, is_replaced=True)
        assert one.pause_left(11.0) > 0
        assert one.may_come
        one.answered()
        assert not one.may_come

    def test_a_dial_that_fails_ends_the_wait_for_it(self) -> None:
        one = place()
        for at in (10.0, 11.0):
            one.ended(was_ready=True, lived=0.05, reason="it drains", at=at, is_replaced=True)
        assert one.may_come
        one.note_failure(refused(), 12.0)
        assert not one.may_come

    def test_a_connection_that_lasted_is_made_again_at_once(self) -> None:
        one = place()
        one.answered()
        one.ended(was_ready=True, lived=0.1, reason="eof", at=10.0)
        assert (one.error, one.failures, one.pause_left(10.0)) == (None, 0, 0)

    def test_only_the_first_of_many_failures_is_logged(self, caplog: pytest.LogCaptureFixture) -> None:
        one = place()
        with caplog.at_level(logging.INFO, "fastrpc.client"):
            one.note_failure(refused(), 10.0)
            one.note_failure(refused(), 11.0)
            one.answered()
            one.answered()
        assert [(each.levelname, each.getMessage()) for each in caplog.records] == [
            ("WARNING", "tcp://127.0.0.1:1: refused"),
            ("INFO", "connected to tcp://127.0.0.1:1 again"),
        ]

    @pytest.mark.parametrize("is_logged", [True, False])
    def test_an_early_end_is_logged_where_that_is_wanted(
        self, is_logged: bool, caplog: pytest.LogCaptureFixture
    ) -> None:
        one = place()
        one.logs_early_ends = is_logged
        one.ended(was_ready=True, lived=0.0, reason="eof", at=10.0)
        assert [each.levelname for each in caplog.records] == ["WARNING"] * is_logged
        assert one.failures == 1

    def test_a_kept_error_holds_no_frames(self) -> None:
        one = place()
        try:
            try:
                raise OSError("deep")
            except OSError as error:
                raise refused() from error
        except ConnectError as error:
            one.note_failure(error, 10.0)
        assert one.error is not None
        assert one.error.__cause__ is not None
        assert (one.error.__traceback__, one.error.__cause__.__traceback__) == (None, None)


class TestConnectionsOfOneEndpoint:
    @pytest.mark.parametrize(
        ("held", "width", "is_lacking"),
        [
            ([], 1, True),
            ([Connected()], 1, False),
            ([Connected()], 3, True),
            ([Connected(is_ready=False)], 3, False),
            ([Connected(), Connected(is_ready=False)], 3, True),
            ([Connected(), Connected(), Connected()], 3, False),
            ([Connected(is_aged=True)], 1, True),
            ([Connected(is_aged=True), Connected(is_ready=False)], 1, False),
        ],
    )
    def test_one_connection_is_made_first_and_the_others_once_it_is_ready(
        self, held: list[Connected], width: int, is_lacking: bool
    ) -> None:
        one = place()
        one.held = held
        assert one.lacks(width) == is_lacking

    def test_an_aged_connection_retires_once_its_successor_is_ready(self) -> None:
        one, old, successor = place(), Connected(is_aged=True), Connected(is_ready=False)
        one.held = [old]
        assert one.replaced() == []
        one.held = [old, successor]
        assert one.replaced() == []
        successor.is_ready = True
        assert one.replaced() == [old]

    def test_of_several_old_ones_as_many_go_as_there_are_successors(self) -> None:
        one = place()
        old = [Connected(is_aged=True), Connected(is_aged=True)]
        one.held = [*old, Connected()]
        assert one.replaced(2) == old[:1]
        one.held.append(Connected())
        assert one.replaced(2) == old
        assert one.replaced(1) == old

    def test_the_rank_reflects_earlier_dials(self) -> None:
        unknown, known, failed, lost = place(1), place(2), place(3), place(4)
        for each in (known, lost):
            each.answered()
        for each in (failed, lost):
            each.note_failure(refused(), 10.0)
        assert [each.dial_rank for each in (known, unknown, lost, failed)] == [0, 1, 2, 3]


class TestTheList:
    def test_an_endpoint_that_stays_keeps_its_state(self) -> None:
        plan = plan_of(3)
        first, second, third = plan.subchannels
        second.note_failure(refused(), 10.0)
        plan.take(some(2))
        plan.choose()
        assert plan.subchannels == plan.wanted == [first, second]
        assert plan.take_gone() == [third]
        assert plan.take_gone() == []
        assert third.is_removed
        assert not plan.may_dial(third, 99.0)

    def test_the_warm_number_of_endpoints_stays_connected_when_the_list_changes(self) -> None:
        plan = plan_of(20, warm=3)
        warm = {each for each in plan.subchannels if each.is_warm}
        assert len(warm) == 3
        assert warm == set(sorted(plan.subchannels, key=lambda each: each.rank)[:3])
        plan.take([each.endpoint for each in plan.subchannels if each in warm])
        plan.choose()
        assert {each for each in plan.subchannels if each.is_warm} == warm

    def test_an_address_is_found_as_long_as_it_is_in_the_list(self) -> None:
        plan = plan_of(3)
        third = plan.subchannels[2]
        assert plan.find(third.endpoint.address) is third
        plan.take(some(2))
        assert plan.find(third.endpoint.address) is None

    def test_a_client_of_one_address_has_one_endpoint(self) -> None:
        plan = ConnectionPlan("somebody", None, 1, Place)
        plan.take_one(some(2))
        plan.choose()
        assert plan.subchannels == plan.wanted
        assert [each.is_warm for each in plan.subchannels] == [True]

    def test_the_endpoint_set_learns_once_of_endpoints_without_a_connection(self) -> None:
        plan = plan_of(2)
        first, second = plan.subchannels
        assert [each.is_untried for each in (first, second)] == [True, True]
        first.held = [Connected()]
        first.answered()
        assert plan.mark(is_connected)
        assert not plan.mark(is_connected)
        assert [each.endpoint_state.is_leaving for each in (first, second)] == [False, True]
        assert [each.is_untried for each in (first, second)] == [False, True]


class TestNextDial:
    def test_the_first_in_order_that_has_no_connection_and_no_pause(self) -> None:
        plan = plan_of(4)
        one, two, three, four = plan.subchannels
        one.held = [Connected()]
        two.note_failure(refused(), 10.0)
        three.is_dialing = True
        assert plan.next_dial(plan.subchannels, None, 1, 10.05) is four
        assert plan.next_dial(plan.subchannels, None, 1, 10.2) is two
        assert plan.next_dial([four, two], None, 1, 10.2) is four

    def test_endpoint_whose_connections_are_all_in_use_gets_another_up_to_the_width(self) -> None:
        plan = plan_of(1)
        (one,) = plan.subchannels
        one.held = [Connected()]
        assert plan.next_dial([one], None, 2, 10.0) is None
        assert plan.next_dial([one], one, 2, 10.0) is one
        one.held = [Connected(), Connected()]
        assert plan.next_dial([one], one, 2, 10.0) is None

    def test_no_checks_run_while_all_are_connected(self) -> None:
        plan = plan_of(2)
        for each in plan.subchannels:
            each.held = [Connected()]
            each.answered()
        assert plan.next_look() is None

    def test_the_next_look_is_at_the_end_of_the_first_pause(self) -> None:
        plan = plan_of(3)
        one, two, three = plan.subchannels
        one.note_failure(refused(), 10.0)
        two.note_failure(refused(), 9.5)
        three.is_dialing = True
        assert plan.next_look() == pytest.approx(9.6)

    def test_an_endpoint_that_failed_is_looked_at_until_its_server_is_known_to_be_back(self) -> None:
        plan = plan_of(1)
        (one,) = plan.subchannels
        one.note_failure(refused(), 10.0)
        one.held = [Connected(is_ready=False)]
        assert plan.next_look() == 0
        one.answered()
        assert plan.next_look() is None


class TestTheEndOfAWait:
    def test_calls_use_other_connections_during_a_dial(self) -> None:
        plan = plan_of(2)
        plan.subchannels[1].is_dialing = True
        assert not plan.are_unreachable(plan.subchannels, None, 10.0)
        assert plan.are_unreachable(plan.subchannels[:1], None, 10.0)

    def test_a_further_attempt_waits_for_one_failed_dial(self) -> None:
        plan, patience = plan_of(1), Patience(0.1)
        (one,) = plan.subchannels
        assert not plan.are_unreachable([one], patience, 10.0)
        one.note_failure(refused(), 10.0)
        assert not plan.are_unreachable([one], patience, 10.05)
        assert plan.are_unreachable([one], patience, 10.1)

    def test_patience_lasts_for_one_failed_dial_and_for_the_first_pause_at_least(self) -> None:
        clock, patience = FakeClock(), Patience(0.1)
        endpoints = [place(1), place(2)]
        assert not patience.is_over(endpoints, clock())
        endpoints[0].note_failure(refused(), clock())
        assert not patience.is_over(endpoints, clock())
        clock.advance(0.1)
        assert patience.is_over(endpoints, clock())
        assert not patience.is_over(endpoints[1:], clock())
        assert patience.is_over([], clock())
        # An endpoint that came later has no failed dial that this attempt waited for.
        assert not patience.is_over([place(1)], clock())


class TestErrorMessages:
    def test_the_error_names_each_address_and_its_error(self) -> None:
        plan = plan_of(2)
        plan.subchannels[0].note_failure(refused(), 10.0)
        error = unreachable(plan.subchannels)
        assert "tcp://127.0.0.1:1: refused; tcp://127.0.0.1:2: no answer yet" in str(error)
        assert "wait_for_ready" in str(error.hint)

    def test_of_very_many_addresses_it_names_the_first(self) -> None:
        text = plan_of(MOST_NAMED + 5).tried(None)
        assert text.endswith("; and 5 more")
        assert text.count("no answer yet") == MOST_NAMED

    def test_a_stranger_at_the_address_is_named(self) -> None:
        plan = plan_of(1)
        plan.subchannels[0].note_failure(ConnectError("not a fastrpc server but HTTP: 400"), 10.0)
        hint = unreachable(plan.subchannels).hint or ""
        assert hint.startswith("HTTP answered there: check host and port; ")
        assert 'protocols name "native"' in hint

    def test_a_tls_server_at_a_unix_socket_is_not_dialled_with_tls(self) -> None:
        (subchannel,) = (plan := plan_of(1)).subchannels
        subchannel.endpoint = Endpoint("unix:///run/desk.sock")
        subchannel.note_failure(
            ConnectError("not a fastrpc server but a TLS server: the first bytes are"), 10.0
        )
        hint = unreachable(plan.subchannels).hint
        assert hint == "a TLS server answered there: check the address"

    @pytest.mark.parametrize(
        ("error", "hint"),
        [
            (ConnectError("it is not encrypted", hint="dial tls://"), "dial tls://"),
            (ConfigError("TLS.ca_file is 'x': No such file or directory"), "correct this setting"),
            (
                ConnectError("not a fastrpc server but a TLS server: the first bytes are"),
                "a TLS server answered",
            ),
            (ConnectError("it closed the connection"), "is a server running there?"),
        ],
    )
    def test_the_remedy_of_an_error_comes_first(self, error: FastRPCError, hint: str) -> None:
        plan = plan_of(2)
        for subchannel in plan.subchannels:
            subchannel.note_failure(error, 10.0)
        assert (unreachable(plan.subchannels).hint or "").startswith(hint)

    def test_the_hint_of_a_refused_handshake_is_kept(self) -> None:
        plan = plan_of(1)
        plan.subchannels[0].ended(was_ready=False, lived=0.1, reason="refused", hint="set cert_file", at=10.0)
        assert unreachable(plan.subchannels).hint == "set cert_file"

    @pytest.mark.parametrize(
        ("error", "text"),
        [(None, "no endpoint of somebody is known"), ("away", "no endpoint of somebody is known (away)")],
    )
    def test_the_error_says_that_there_is_no_list(self, error: object, text: str) -> None:
        assert plan_of(0).tried(error) == text
