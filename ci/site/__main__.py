"""Build the site into `site/`: `python -m ci.site [FOLDER]`."""

import shutil
import sys
from pathlib import Path

from ci.site.pages import ROOT, lay_out

__all__ = ["main"]


def main(arguments: list[str]) -> int:
    """Build; a warning, such as a broken link, is a failure."""
    from sphinx.cmd.build import main as sphinx

    output = Path(arguments[0]) if arguments else ROOT / "site"
    sources = ROOT / "build" / "site"
    if arguments and output.exists() and any(output.iterdir()) and not (output / "objects.inv").is_file():
        raise SystemExit(f"{output} has other files than those of a site")
    lay_out(sources)
    shutil.rmtree(output, ignore_errors=True)
    here = Path(__file__).parent
    settings = ["-c", str(here), "-d", str(ROOT / "build" / "site-cache")]
    code = int(sphinx(["-q", "-W", "--keep-going", "-E", "-b", "html", *settings, str(sources), str(output)]))
    if code == 0:
        print(f"the site is in {output}: python -m http.server --directory {output} 8000 --bind 127.0.0.1")
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
