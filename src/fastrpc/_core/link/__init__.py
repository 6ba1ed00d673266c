"""The contract between a connection and the protocol that it holds. It may import `calls`, `io` and lower rooms."""
