"""Compiled code of the tests and benchmarks, which `ci/build` builds beside the package. Wheels do not contain it."""
