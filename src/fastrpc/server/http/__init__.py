"""The methods and the fixed paths that a server offers by HTTP. The protocol itself is in `_core/http`."""
