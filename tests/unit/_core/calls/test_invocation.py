"""How handlers are called with their decoded arguments."""

from typing import Any, cast

import pytest

from fastrpc._core.calls.invocation import invoke


@pytest.mark.parametrize("given", [None, [1, 2], {"a": 1}])
def test_objects_that_are_not_decoded_arguments_are_refused(given: object) -> None:
    with pytest.raises(TypeError, match="called with a tuple"):
        invoke(lambda *args: args, cast(Any, given))
