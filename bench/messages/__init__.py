"""Publish and subscribe beside calls, rows of SQLite, NATS JetStream and Redis streams, with limits."""
