"""The status of a call, as people read it."""

import json

from fastrpc import Status


def test_the_text_of_a_status_is_its_name_and_its_value_a_number() -> None:
    assert [str(one) for one in Status] == [one.name for one in Status]
    assert (
        f"{Status.NOT_FOUND} {Status.NOT_FOUND:d} {Status.NOT_FOUND!r}" == "NOT_FOUND 5 <Status.NOT_FOUND: 5>"
    )
    assert f"{Status.ABORTED} {Status.ABORTED:d}" == "ABORTED 10"
    assert json.dumps({"status": Status.OK}) == '{"status": 0}'
