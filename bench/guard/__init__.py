"""The guard: instructions that the hot paths take, recorded in the tree and compared with on every change."""
