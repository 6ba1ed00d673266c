"""`fastrpc run` and `fastrpc dev`: their options, the plan made of these, reports of the start and of errors."""
