"""What a server offers by HTTP: methods, and what is at fixed paths. The protocol itself is `_core/gateway`."""
