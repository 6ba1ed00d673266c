"""Publish and subscribe compared with calls, rows of SQLite, NATS JetStream and Redis streams, with limits."""
