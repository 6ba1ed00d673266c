"""A store of ours compared with a node of etcd: reads, writes, locks and watches, with their limits."""
