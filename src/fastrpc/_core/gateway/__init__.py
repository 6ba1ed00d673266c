"""The gateway: calls that come by HTTP. It knows gate and exchange, and nothing of the native protocol."""
