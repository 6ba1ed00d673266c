"""The status and the fields of an answer by HTTP behind a gateway."""
