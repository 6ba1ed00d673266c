from typing import final

from fastrpc._core.http.answering import Answering, BareAnswering
from fastrpc._core.http.own_answerings import ValueAnswering

@final
class WebAnswering(Answering):
    """The outcome of a call by gRPC-Web or Connect."""

@final
class HeaderAnswering(BareAnswering):
    """The outcome of a call by the header gateway of rpcx, or of Phobos."""

@final
class MountAnswering(ValueAnswering):
    """The failure of an application, which sends its responses itself."""
