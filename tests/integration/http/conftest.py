"""Calls by gRPC-Web and Connect are tested over each version of HTTP that carries them."""

from functools import partial

import pytest

from tests.support import web_talk
from tests.support.web_talk import Serving


@pytest.fixture(params=["1.1", "2"])
def serving(request: pytest.FixtureRequest) -> Serving:
    """A server of both protocols, and a client of this version of HTTP."""
    return partial(web_talk.serving, version=request.param)
