"""The parts that every hosted service shares: its server, the rights of callers, the end of verbs, the blocking twin.

This package depends neither on keys nor on messages: `coordination` says which rights and errors a store has.

It may import every package of a lower rank except `batcher`, `files`, `grpc` and `workers`.
"""
