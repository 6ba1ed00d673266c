"""Compiled code of the tests and benchmarks, built by `ci/build` beside the package; no wheel carries it."""
