"""One HTML file of everything in a store, which needs nothing else: `write_page`."""

from prunus.report.page.render import render, write_page

__all__ = ["render", "write_page"]
