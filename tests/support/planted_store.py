"""`fastrpc store` with a mistake, which the judge of histories has to find: reads do not wait for the commit."""

import sys
import time
from collections.abc import Sequence

from fastrpc.cli.main import main
from fastrpc.coordination.remote import service
from fastrpc.stores.base import Item, ItemChange, LeaseChange
from fastrpc.stores.local import LocalStore
from fastrpc.stores.sqlite import SqliteJournal


class EarlyReads(LocalStore):
    """Returns items that a crash may take back."""

    async def get(self, key: str, *, stale: bool = False) -> Item[bytes] | None:
        return self.content.items.get(key)


class SlowJournal(SqliteJournal):
    """Commits as on a slow disk."""

    def commit(self, changes: Sequence[ItemChange | LeaseChange], compacted: int) -> None:
        time.sleep(0.02)
        super().commit(changes, compacted)


if __name__ == "__main__":
    service.LocalStore = EarlyReads  # type: ignore[misc]
    service.SqliteJournal = SlowJournal  # type: ignore[misc]
    sys.argv[1:1] = ["store"]
    main()
