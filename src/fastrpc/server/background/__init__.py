"""Runs of methods that a server starts by itself. `rpc/background/` has their marks."""
