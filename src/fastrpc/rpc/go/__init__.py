"""Field names of Go in payloads of rpcx: `user_id` is `UserID`.

fields  decodes payloads with either name;  twins: encodes objects with the names of Go
"""
