"""Run the requests of a store, with repeats and time limits; failures raise StoreError."""

from typing import Final

from fastrpc.errors import StoreError
from fastrpc.hosted.verbs import Verbs

__all__ = ["finish"]

finish: Final = Verbs(StoreError).finish
