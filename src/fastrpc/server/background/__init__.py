"""Work that a server starts by itself: scheduled methods and subscribers. `rpc/background/` defines their marks.

`coordination` and `brokers` run this work. They are in higher layers than servers, so `fastrpc/__init__.py` registers
them.
"""
