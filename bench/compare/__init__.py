"""One run that measures fastrpc, other RPC stacks and a bare C echo side by side: `python -m bench.compare`.

workloads (what is asked) → peers (who answers) → rounds (runs each pair alone, in turn) → report (tables).
A peer knows workloads and load, never rounds or report.
"""
