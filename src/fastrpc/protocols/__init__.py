"""The wire protocols, one per file. A server selects the protocol of a connection by its first bytes."""
