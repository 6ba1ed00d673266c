"""A program that opens the store of a folder, and closes it."""

import sys

from fastrpc.stores.sqlite import SqliteJournal

if __name__ == "__main__":
    journal = SqliteJournal(sys.argv[1])
    journal.open()
    journal.close()
