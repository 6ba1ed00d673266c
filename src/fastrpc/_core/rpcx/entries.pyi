"""Metadata between rpcx and the native form; no Python face."""
