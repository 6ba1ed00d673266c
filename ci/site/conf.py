"""Settings of Sphinx for the site; its sources are laid out by `ci.site.pages`."""

from fastrpc._version import __version__

project = "fastrpc"
html_title = f"fastrpc {__version__}"
extensions = ["myst_parser"]
exclude_patterns: list[str] = []

# A backtick in a docstring is code.
default_role = "code"
add_module_names = False
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
toc_object_entries_show_parents = "hide"

# Links within a page, as GitHub makes them from headings; a broken one is a warning, and warnings fail the build.
myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure", "ref.python"]

html_theme = "furo"
html_static_path = ["static", "../../build/site/static"]
smartquotes = False
html_copy_source = False
html_show_sphinx = False
html_js_files = [("questions.js", {"defer": "defer"}), ("ranking.js", {"defer": "defer"})]
