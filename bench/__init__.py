"""Benchmarks: pytest-benchmark suites here, comparison with other RPC stacks in `compare`.

May import fastrpc's public names and, in the suites for single parts, its modules; nothing imports this.
"""
