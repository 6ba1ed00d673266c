"""`@method(renamed=)`: old names that a method keeps, and the names of a contract."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Protocol

import pytest

import fastrpc
from fastrpc import ConfigError
from fastrpc.rpc.service import method_definition, service_definition
from tests.support.wire_names import names_told


def takes(function: Callable[..., Any], *names: str) -> bool:
    return method_definition(function).accepted_names().takes(names_told(names))


@fastrpc.service("bank")
class Bank:
    @fastrpc.method(renamed={"source": "sender", "src": "sender", "target": "receiver"})
    async def transfer(self, sender: str, receiver: str, cents: int = 0) -> str:
        return f"{sender} {receiver} {cents}"


def test_old_names_count_at_the_position_of_the_present_one() -> None:
    for sender in ("sender", "source", "src"):
        for receiver in ("receiver", "target"):
            assert takes(Bank.transfer, sender, receiver, "cents")
    assert not takes(Bank.transfer, "target", "source")
    assert not takes(Bank.transfer, "receiver", "sender")


def test_a_changed_mapping_changes_no_method() -> None:
    renamed = {"source": "sender"}

    @fastrpc.service("bank")
    class Copying:
        @fastrpc.method(renamed=renamed)
        async def transfer(self, sender: str) -> None: ...

    renamed["other"] = "sender"
    assert method_definition(Copying.transfer).renamed == {"source": "sender"}


BAD: list[tuple[Any, type[Exception], str]] = [
    ({"old": "c"}, TypeError, r"'c' is not a parameter: write the present name of a parameter, it has a, b"),
    ({"a": "b"}, TypeError, r"'a' is a parameter itself"),
    ({"a": "a"}, TypeError, r"'a' is a parameter itself"),
    ({1: "a"}, TypeError, r"write renamed=\{'old': 'new'\}"),
    ({"old": None}, TypeError, r"write renamed=\{'old': 'new'\}"),
    ([("old", "a")], TypeError, r"write renamed=\{'old': 'new'\}"),
    ("old", TypeError, r"write renamed=\{'old': 'new'\}"),
    ({"not a name": "a"}, ConfigError, r"'not a name' was not a parameter's name"),
    ({"": "a"}, ConfigError, r"'' was not a parameter's name"),
    ({f"old{n}": "a" for n in range(5)}, ConfigError, r"5 old names, a method keeps at most 4"),
]


@pytest.mark.parametrize(("renamed", "kind", "text"), BAD)
def test_names_that_cannot_be_meant_are_refused(renamed: Any, kind: type[Exception], text: str) -> None:
    with pytest.raises(kind, match=text):

        class Refused:
            @fastrpc.method(renamed=renamed)
            async def change(self, a: int, b: int) -> None: ...


def test_a_stream_has_no_name_on_the_wire() -> None:
    with pytest.raises(TypeError, match="'lines' is the stream, whose name is not sent"):

        class Refused:
            @fastrpc.method(renamed={"rows": "lines"})
            async def load(self, lines: AsyncIterator[str], table: str) -> None: ...


def test_raw_payload_has_no_names_on_the_wire() -> None:
    with pytest.raises(TypeError, match=r"sends no names: leave `renamed` out"):

        class Refused:
            @fastrpc.method(codec="raw", renamed={"blob": "data"})
            async def echo(self, data: bytes) -> bytes:
                return data


def test_a_method_without_parameters_has_none_to_rename() -> None:
    with pytest.raises(TypeError, match="'a' is not a parameter: .* it has none"):

        class Refused:
            @fastrpc.method(renamed={"old": "a"})
            async def nothing(self) -> None: ...


def test_an_override_keeps_the_old_names_that_fit_it() -> None:
    class Branch(Bank):
        async def transfer(self, sender: str, to: str, cents: int = 0) -> str:
            return ""

    assert method_definition(Branch.transfer).renamed == {"source": "sender", "src": "sender"}
    assert takes(Branch.transfer, "src", "to", "cents")


def test_names_of_an_inherited_contract_are_accepted_like_names_of_the_handler() -> None:
    @fastrpc.service("ledger")
    class Contract(Protocol):
        @fastrpc.method(renamed={"sum": "amount"})
        async def book(self, account: str, amount: int) -> None: ...

    class Ledger(Contract):
        async def book(self, name: str, value: int) -> None: ...

    for names in (("account", "amount"), ("account", "sum"), ("name", "value"), ("name",), ("account",)):
        assert takes(Ledger.book, *names)
    for names in (("name", "amount"), ("amount", "account"), ("value", "name")):
        assert not takes(Ledger.book, *names)
    assert service_definition(Ledger).methods["book"].full_name == "ledger.book"


def test_a_contract_whose_names_mean_other_parameters_here_does_not_count() -> None:
    @fastrpc.service("ledger")
    class Contract(Protocol):
        @fastrpc.method
        async def move(self, note: str, source: str, target: str) -> None: ...

    class Ledger(Contract):
        async def move(self, text: str, target: str, source: str) -> None: ...  # type: ignore[override]

    assert takes(Ledger.move, "note")
    assert takes(Ledger.move, "text", "target", "source")
    assert not takes(Ledger.move, "note", "source")
    assert not takes(Ledger.move, "note", "source", "target")


def test_a_class_without_bases_may_keep_the_names_of_its_contract() -> None:
    @fastrpc.service("ledger")
    class Contract(Protocol):
        @fastrpc.method
        async def book(self, account: str, amount: int, *, note: str = "") -> None: ...

    @fastrpc.service("ledger", implements=Contract)
    class Ledger:
        @fastrpc.method(renamed={"account": "name", "note": "text"})
        def book(self, name: str, amount: int, *, text: str = "") -> None: ...

    assert takes(Ledger.book, "account", "amount")
    with pytest.raises(TypeError, match=r"parameter 'account' is number 2, in the contract 1"):

        @fastrpc.service("ledger", implements=Contract)
        class Swapped:
            @fastrpc.method(renamed={"account": "name"})
            def book(self, amount: int, name: str, *, note: str = "") -> None: ...
