"""Which bodies of methods say that a class only declares them."""

from collections.abc import AsyncIterator
from typing import Protocol

import pytest

from fastrpc.rpc.marking import method
from fastrpc.rpc.service import method_definition, service


@service("stubs")
class Declared(Protocol):
    @method
    async def dots(self) -> int: ...

    @method
    async def documented(self) -> int:
        """Say what it does."""

    @method
    async def both(self) -> int:
        """Say what it does."""
        ...

    @method
    async def passed(self, first: int, *, second: int = 2) -> None:
        # On a separate line.
        pass

    @method
    def plain(self) -> int: ...

    @method
    def plain_documented(self) -> int:
        """Say what it does."""
        ...


@service("bodies")
class Written(Protocol):
    @method
    async def one(self) -> int:
        return 1

    @method
    async def documented(self) -> int:
        """Say what it does."""
        return 1

    @method
    async def text(self) -> str:
        return "Say what it does."

    @method
    async def refused(self) -> int:
        raise NotImplementedError

    @method
    async def streamed(self) -> AsyncIterator[int]:
        yield 1

    @method
    def plain(self) -> bool:
        return True

    @method
    def stored(self) -> None:
        self.value = 1


@pytest.mark.parametrize("name", ["dots", "documented", "both", "passed", "plain", "plain_documented"])
def test_bodies_without_a_statement_are_stubs(name: str) -> None:
    assert method_definition(getattr(Declared, name)).is_stub


@pytest.mark.parametrize("name", ["one", "documented", "text", "refused", "streamed", "plain", "stored"])
def test_bodies_with_a_statement_are_not_contract_bodies(name: str) -> None:
    assert not method_definition(getattr(Written, name)).is_stub
