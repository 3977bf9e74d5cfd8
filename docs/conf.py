"""How Sphinx builds these pages: ``make docs`` writes docs/_build/html/index.html. Nothing is fetched."""

from __future__ import annotations

from fwfm_gpu.version import __version__

project = "fwfm_gpu"
author = "the fwfm_gpu developers"
copyright = "the fwfm_gpu developers, BSD-3-Clause"
version = release = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.viewcode",
    "myst_parser",
    "numpydoc",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
default_role = "py:obj"
suppress_warnings = ["myst.strikethrough"]

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "deflist"]

autosummary_generate = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # docstrings give types and shapes
numpydoc_show_class_members = False  # the class pages list them
numpydoc_class_members_toctree = False

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "fwfm_gpu"
html_static_path = ["_static"]
html_css_files = ["fwfm.css"]
html_copy_source = False
html_show_sourcelink = False
WHOLE = ("install", "tutorial", "numerics", "benchmarks", "features", "faq", "changelog")  # pages without others below
html_sidebars: dict[str, list[str]] = {page: [] for page in WHOLE}
html_theme_options = {
    "navbar_end": ["theme-switcher"],
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
}
