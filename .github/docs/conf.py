"""How Sphinx builds the site, from the sources that tests/tools/docs.py puts together.

MyST-NB reads Markdown as GitHub does, and notebooks with their outputs.
"""

import imagen_widget

project = "imagen_widget"
version = release = imagen_widget.__version__
html_title = f"imagen_widget {version}"
html_theme = "furo"  # light and dark, works without scripts, asks no other host for anything
html_copy_source = False
html_show_sphinx = False
html_static_path: list[str] = []
templates_path: list[str] = []

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
default_role = "code"  # docstrings write `name` as Markdown does
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}
suppress_warnings = ["mystnb.unknown_mime_type"]  # what a live widget says beside its static output

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # `make notebooks` runs them and keeps their outputs

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "undoc-members": False, "show-inheritance": False}
autodoc_class_signature = "mixed"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True


def mark_examples(app, what, name, thing, options, lines):
    """Mark what is indented after a blank line of a docstring as code."""
    marked, before = [], ""
    for number, line in enumerate(lines):
        follows_blank = number > 0 and not lines[number - 1].strip()
        if follows_blank and line.startswith("    ") and before and not before.startswith(" "):
            marked += ["::", ""]
        marked.append(line)
        before = line if line.strip() else before
    lines[:] = marked


def setup(app):
    """Have Sphinx read docstrings as this package writes them."""
    app.connect("autodoc-process-docstring", mark_examples, priority=100)
