"""A store of ours beside a node of etcd: reads, writes, locks and watches, with their limits."""
