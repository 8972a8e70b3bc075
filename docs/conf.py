"""How the site is built; `make docs` does it."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import llmgym

project = "llmgym"
author = "The llmgym developers"
copyright = author
release = version = llmgym.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "site_parts"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
smartquotes = False  # "" is an empty text

html_theme = "furo"
html_title = f"llmgym {release}"
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]
pygments_style, pygments_dark_style = "friendly", "monokai"

autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
toc_object_entries_show_parents = "hide"
python_use_unqualified_type_names = True
maximum_signature_line_length = 88
napoleon_use_rtype = False
napoleon_custom_sections = [("Source", "notes_style")]
