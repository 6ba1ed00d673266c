"""The commands of stores: `fastrpc store` and `fastrpc kv`."""
