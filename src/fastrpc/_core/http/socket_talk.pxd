"""One WebSocket: a call, or the messages of JSON-RPC."""
