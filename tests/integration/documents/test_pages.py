"""The blocks of the README and of the user guide work as printed."""

import re
from pathlib import Path

import pytest

from tests.support.pages import BASH, Page
from tests.support.source_tree import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]

PAGE = """
```python
# greet.py
print("hello", "127.0.0.1:8972")
```

```sh
python greet.py &
wait
```

```text
hello 127.0.0.1:8972
```

```sh
echo another
false
```

```console
$ rm -rf everything
```
"""


@pytest.mark.skipif(BASH is None, reason="the blocks are written for bash")
@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_page_works_as_printed(path: Path, tmp_path: Path) -> None:
    ran, errors = Page(path.read_text(encoding="utf-8"), tmp_path).run()
    if wrong := [str(one) for one in ran if not one.is_as_printed()]:
        pytest.fail("\n".join([*wrong, errors]))
    assert not re.search(r"(?i)\bwarning|\berror|Traceback", errors), errors


@pytest.mark.skipif(BASH is None, reason="the blocks are written for bash")
def test_blocks_run_in_one_shell_and_each_has_its_output(tmp_path: Path) -> None:
    blocks, errors = Page(PAGE, tmp_path).run()
    assert errors == ""
    assert [(one.code, one.is_as_printed()) for one in blocks] == [(0, True), (1, False)]
    # The port is another one, and the same everywhere.
    assert blocks[0].output == blocks[0].expected
    assert blocks[1].output == "another\n"
