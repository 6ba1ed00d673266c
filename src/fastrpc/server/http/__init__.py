"""The methods and fixed paths that a server offers by HTTP. `_core/http` implements the protocol."""
