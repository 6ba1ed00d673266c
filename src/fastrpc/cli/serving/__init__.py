"""`fastrpc run` and `fastrpc dev`: their options, the plan built from them, reports of the start and of errors."""
