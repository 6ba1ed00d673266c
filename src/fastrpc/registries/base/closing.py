"""`with` and `async with` for objects that are closed at the end of the block."""

from abc import ABC, abstractmethod
from types import TracebackType
from typing import Self

__all__ = ["Closing"]


class Closing(ABC):
    """An object with `close`, and `aclose` for a loop; leaving its block closes it."""

    @abstractmethod
    def close(self) -> None:
        """Close the object. Closing twice is allowed."""

    async def aclose(self) -> None:
        """Close without blocking the loop."""
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()
