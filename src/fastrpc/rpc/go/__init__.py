"""Fields in the names of Go, for payloads of rpcx: `user_id` is `UserID`.

fields  decodes payloads that may have either name;  twins: encodes objects under the names of Go
"""
