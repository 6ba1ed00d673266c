"""Lists of many services of the embedded registry, with a server that follows the test."""

from typing import Any

from fastrpc import Endpoint, StoreError
from fastrpc.coordination.registry.service import RegistryService
from fastrpc.coordination.registry.service_lists import ServiceList
from fastrpc.coordination.registry.services_lookup import ServicesLookup
from fastrpc.registries.base.backend import Listing
from fastrpc.registries.base.record import encode_record

RECORD = encode_record(Endpoint("tcp://10.0.0.1:1")).decode()


class Answers:
    """A client of a server whose first pages are `lists`; further pages belong to another list."""

    def __init__(self) -> None:
        self.lists: dict[str, ServiceList] = {}
        self.asked: list[dict[str, str]] = []
        self.ended = 0

    def with_options(self, **options: Any) -> "Answers":
        return self

    def stream(self, method: Any, cursors: dict[str, str], wait_seconds: float) -> "Answers":
        assert method is RegistryService.follow_many
        self.asked.append(cursors)
        return self

    def receive(self) -> dict[str, ServiceList]:
        return self.lists

    def close(self) -> None:
        self.ended += 1

    def call(self, method: Any, *arguments: Any) -> ServiceList:
        assert method is RegistryService.page
        return ServiceList("other.1", [RECORD])


def test_a_list_with_inconsistent_pages_delays_no_other_and_is_read_again() -> None:
    answers = Answers()
    lookup = ServicesLookup(answers)  # type: ignore[arg-type]
    lookup.follow(frozenset({"a", "bad"}), frozenset())
    answers.lists = {"bad": ServiceList("x.1", [RECORD], following=1), "a": ServiceList("x.1", [RECORD])}
    told = lookup.fetch(5.0)
    assert isinstance(told["bad"], StoreError)
    assert isinstance(told["a"], Listing)
    assert answers.ended == 1
    answers.lists = {"bad": ServiceList("x.2", [RECORD])}
    told = lookup.fetch(5.0)
    assert isinstance(told["bad"], Listing)
    assert answers.asked == [{"a": "", "bad": ""}, {"a": "x.1", "bad": ""}]
