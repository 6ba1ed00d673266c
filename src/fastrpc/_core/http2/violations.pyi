"""The rules that a peer can break; compiled code alone asks for them."""
