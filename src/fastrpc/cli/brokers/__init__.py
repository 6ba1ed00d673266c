"""The commands of brokers: `fastrpc broker`, `topics`, `publish`, `subscribe` and `dead`."""
