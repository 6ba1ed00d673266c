"""Reset the counters of the process between tests."""

from fastrpc._core.base.histogram cimport CounterRegistry

from fastrpc._core.base.histogram import default_registry


def forget_counters():
    (<CounterRegistry>default_registry)._counters.clear()
