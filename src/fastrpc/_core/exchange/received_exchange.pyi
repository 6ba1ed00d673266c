from fastrpc._core.exchange.exchange import Exchange

class ReceivedExchange(Exchange):
    """A request as its connection receives it."""
