"""One RPC and its route, the chain of interceptors, and the invocation of handlers. Depends on no connection."""
