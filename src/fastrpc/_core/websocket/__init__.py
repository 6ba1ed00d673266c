"""The framing of WebSocket (RFC 6455): bytes to messages and back, without input and output."""
