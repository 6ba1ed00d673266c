"""The parts that every hosted service shares: its server, the rights of callers, the end of verbs, the blocking twin.

Knows neither keys nor messages: `coordination` says which rights and errors a store has.

May import everything below `batcher`, `files`, `grpc` and `workers`, and none of these.
"""
