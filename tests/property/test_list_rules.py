"""Properties of every published list, for any answers and failures of a registry."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from fastrpc import Endpoint
from fastrpc.registries.base.rules import CONFIRM_SECONDS, LOOK_SECONDS, SETTLE_SECONDS, ListRules

MOST_PORTS = range(1, 9)
PORTS = st.lists(st.sampled_from(MOST_PORTS), unique=True, max_size=len(MOST_PORTS))

#: A list, or None for a failure; and the seconds that pass before it.
EVENTS = st.lists(st.tuples(st.none() | PORTS, st.sampled_from([0.0, 0.1, 0.5, 5.0, 11.0])), max_size=30)


def endpoints(ports: Sequence[int]) -> list[Endpoint]:
    return [Endpoint(f"tcp://10.0.0.1:{port}") for port in sorted(ports)]


@given(EVENTS)
def test_published_list_has_exactly_the_endpoints_of_the_registry(
    events: list[tuple[list[int] | None, float]],
) -> None:
    rules, now = ListRules(), 0.0
    named: set[Endpoint] = set()
    for ports, seconds in events:
        now += seconds
        if ports is None:
            rules.note_failure()
            continue
        answer = endpoints(ports)
        named |= set(answer)
        published = rules.decide(answer, now).endpoints
        if published is None:
            # An empty list before any other waits for a second look.
            assert not named
            continue
        assert set(answer) <= set(published) <= named
        assert list(published) == sorted(set(published), key=str)


@given(EVENTS)
def test_no_endpoint_is_removed_before_the_registry_settles(
    events: list[tuple[list[int] | None, float]],
) -> None:
    rules, now, settled = ListRules(), 0.0, 0.0
    published: set[Endpoint] = set()
    is_away = False
    for ports, seconds in events:
        now += seconds
        if ports is None:
            rules.note_failure()
            is_away = True
            continue
        if is_away:
            is_away, settled = False, now + SETTLE_SECONDS
        before, published = published, set(rules.decide(endpoints(ports), now).endpoints or ())
        if now < settled:
            assert before <= published


@given(EVENTS, PORTS)
def test_list_that_stays_is_believed_in_the_end(
    events: list[tuple[list[int] | None, float]], last: list[int]
) -> None:
    rules, now = ListRules(), 0.0
    for ports, seconds in events:
        now += seconds
        if ports is None:
            rules.note_failure()
        else:
            rules.decide(endpoints(ports), now)
    began = now
    decision = rules.decide(endpoints(last), now)
    looks = 1
    while decision.look_again is not None:
        now += decision.look_again
        decision = rules.decide(endpoints(last), now)
        looks += 1
        # A look for each second in which it settles, and one as each endpoint that is missing has been so for long
        # enough; then a second look. Sums of times that lack less than the clock can tell take one more each.
        assert looks <= SETTLE_SECONDS / LOOK_SECONDS + 2 * len(MOST_PORTS) + 4
    assert now - began <= SETTLE_SECONDS + CONFIRM_SECONDS + 0.1
    assert decision.endpoints == tuple(endpoints(last))
