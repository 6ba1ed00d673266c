"""An opened backend, which is entered once and by one process."""

import os
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Generic, TypeVar

from fastrpc.errors import FastRPCError

__all__ = ["OpenedBackend"]

B = TypeVar("B")


class OpenedBackend(Generic[B]):
    """The backend of an object, which enters and leaves it.

    Args:
        opening: a context manager that returns the backend.
        name: the name of the object in error texts and in the function that opens it: "store" for `open_store`.
        failure: the class of the error that is raised after the object was closed.
    """

    def __init__(
        self, opening: AbstractAsyncContextManager[B], name: str, failure: type[FastRPCError]
    ) -> None:
        self._opening = opening
        self._name = name
        self._failure = failure
        self._backend: B | None = None
        self._was_entered = False
        self._process = 0

    @property
    def backend(self) -> B:
        """The backend.

        Raises:
            FastRPCError: of the class `failure`: it is closed.
            RuntimeError: this process was forked from the process that entered it.
        """
        if self._backend is None:
            raise self._failure(
                f"the {self._name} is closed",
                processed="no",
                hint=f"write async with open_{self._name}(…)",
            )
        if self._process != os.getpid():
            raise RuntimeError(f"the {self._name} was opened before a fork; open it in each process")
        return self._backend

    @property
    def is_ours(self) -> bool:
        """True if the backend is open and was entered by this process."""
        return self._backend is not None and self._process == os.getpid()

    async def enter(self) -> None:
        """Enter the backend.

        Raises:
            RuntimeError: it was entered before.
        """
        if self._backend is not None:
            raise RuntimeError(f"the {self._name} is open already")
        # A backend can be entered only once, even if that failed.
        if self._was_entered:
            raise RuntimeError(f"a {self._name} is entered once; open another one with open_{self._name}(…)")
        self._was_entered = True
        self._backend = await self._opening.__aenter__()
        self._process = os.getpid()

    async def leave(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the backend."""
        self._backend = None
        await self._opening.__aexit__(kind, error, traceback)
