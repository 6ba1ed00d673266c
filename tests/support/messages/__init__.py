"""Publishers and subscribers in processes that tests kill, and the ledger of their work."""
