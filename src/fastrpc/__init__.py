"""An RPC engine for latency-sensitive services."""
