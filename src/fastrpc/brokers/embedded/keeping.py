"""The interface of an embedded broker's journal, and the changes that it commits."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import msgspec

from fastrpc.brokers.local.records import Change, Record, SavedGroup, SavedTopic
from fastrpc.errors import BrokerError
from fastrpc.stores.local.commits import CommitJournal

__all__ = ["BrokerKeeping", "KeptBroker", "KeptChanges", "Tell"]


@dataclass(frozen=True, slots=True)
class KeptBroker:
    """The content of a journal, from which a broker continues."""

    topics: Sequence[SavedTopic] = ()
    groups: Sequence[SavedGroup] = ()


#: A function that is called with None once changes are kept, or with an error.
Tell: TypeAlias = Callable[[BrokerError | None], None]


class KeptChanges(msgspec.Struct, eq=False):
    """The changes of one step, in order."""

    changes: Sequence[Change]

    #: Bytes of its messages.
    size: int

    #: Functions to call once the changes are kept, or with the error of the broker.
    tells: Sequence[Tell] = ()

    #: True if a commit that did not fit has kept all changes except the messages.
    has_rest: bool = False


class BrokerKeeping(CommitJournal[KeptChanges, KeptBroker], Protocol):
    """The journal of a broker. A commit that does not fit on the disk drops only its messages, and keeps the rest."""

    def read(self, topic: str, numbers: Sequence[int]) -> tuple[Sequence[Record], Sequence[int]]:
        """Return the existing messages with these numbers, in order, and the numbers of damaged messages.

        The times of a message count from the instant at which it was kept. The broker calls this between two commits.
        """

    def read_ids(self, topic: str, first: int, last: int) -> Mapping[str, int]:
        """Return the numbers of a topic's existing messages in a range, by id.

        Damaged messages are left out. The broker calls this between two commits.
        """

    def read_letters(self, group: str, numbers: Collection[int]) -> Mapping[int, bytes]:
        """Return the bodies of existing, undamaged dead letters, by number. It is called between two commits."""

    def stop_waiting(self) -> None:
        """Stop waiting for disk space, because the broker closes. Any thread may call it."""

    def file_bytes(self) -> int:
        """Return the size on the disk in bytes. Any thread may call it."""
