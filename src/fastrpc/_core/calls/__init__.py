"""One RPC and its route, the chain of interceptors, and how handlers are called. Knows no connection."""
