"""The breaker against a model in plain words, over random histories."""

import random
from dataclasses import dataclass, field

from fastrpc._core.balancing.breaker import EndpointBreaker
from fastrpc.config import Breaker as Settings
from tests.conftest import Scale


@dataclass
class Model:
    """Every call and every end is remembered; nothing is counted in advance. Times are milliseconds."""

    settings: Settings
    state: str = "closed"
    generation: int = 1
    ended: list[tuple[int, bool]] = field(default_factory=list)
    until: float = 0
    times: int = 0
    under_way: int = 0
    succeeded: int = 0

    def acquire(self, now: int) -> int:
        if self.state == "open" and now >= self.until:
            self.state, self.under_way, self.succeeded = "half_open", 0, 0
            self.generation += 1
        if self.state == "closed":
            return self.generation
        if self.state == "half_open" and self.under_way + self.succeeded < self.settings.probes:
            self.under_way += 1
            return self.generation
        return 0

    def record(self, ticket: int, is_fault: bool, now: int) -> None:
        if ticket != self.generation or self.state == "open":
            return
        if self.state == "half_open":
            self.under_way -= 1
            self.succeeded += not is_fault
            if is_fault:
                self._open(now)
            elif self.succeeded == self.settings.probes:
                self.state, self.times, self.ended = "closed", 0, []
                self.generation += 1
            return
        self.ended.append((now, is_fault))
        if is_fault and (self._row_is_long() or self._rate_is_high(now)):
            self._open(now)

    def release(self, ticket: int) -> None:
        if self.state == "half_open" and ticket == self.generation and self.under_way:
            self.under_way -= 1

    def _row_is_long(self) -> bool:
        limit = self.settings.consecutive
        return (
            limit is not None and len(self.ended) >= limit and all(fault for _, fault in self.ended[-limit:])
        )

    def _rate_is_high(self, now: int) -> bool:
        slot = round(self.settings.window * 100)
        recent = [fault for at, fault in self.ended if at // slot > now // slot - 10]
        rate = self.settings.fault_rate
        return (
            rate is not None
            and len(recent) >= self.settings.minimum_calls
            and sum(recent) >= rate * len(recent)
        )

    def _open(self, now: int) -> None:
        longest = self.settings.longest_open
        self.state = "open"
        self.until = now + 1_000 * min(self.settings.open_seconds * 2**self.times, longest)
        self.times += 1
        self.generation += 1


def settings_of(source: random.Random) -> Settings:
    return Settings(
        consecutive=source.choice([None, 1, 2, 5]),
        fault_rate=source.choice([None, 0.25, 0.5, 1.0]),
        minimum_calls=source.choice([1, 4, 10]),
        window=source.choice([1, 10]),
        open_seconds=source.choice([0.5, 1]),
        longest_open=source.choice([1, 8]),
        probes=source.choice([1, 2, 5]),
    )


def test_breaker_equals_its_model_over_random_histories(scale: Scale) -> None:
    states = set()
    for seed in range(scale(10_000)):
        source = random.Random(seed)
        settings = settings_of(source)
        breaker, model = EndpointBreaker(settings), Model(settings)
        # Whole milliseconds away from the edges of slots, which floating point would blur.
        now = 1_000_000_001
        fault_share = source.random()
        tickets: list[int] = []
        for _ in range(source.randrange(10, 60)):
            now += source.choice([0, 2, 20, 200, 1_000, 6_000])
            action = source.random()
            if action < 0.5:
                ticket = breaker.acquire(now / 1_000)
                assert ticket == model.acquire(now)
                if ticket:
                    tickets.append(ticket)
            elif tickets:
                ticket = tickets.pop(source.randrange(len(tickets)))
                if action < 0.95:
                    is_fault = source.random() < fault_share
                    breaker.record(ticket, is_fault, now / 1_000)
                    model.record(ticket, is_fault, now)
                else:
                    breaker.release(ticket)
                    model.release(ticket)
            assert breaker.state == model.state
            states.add(breaker.state)
    assert states == {"closed", "open", "half_open"}
