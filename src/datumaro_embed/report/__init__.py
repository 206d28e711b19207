"""One HTML file about a store, to look at rather than to read; it needs no network.

analysis.py    all that is found, before it is drawn
facts.py       counts: splits, labels, sizes, failures
projection.py  vectors → two dimensions (PCA; UMAP by an extra)
typical.py     the most isolated and the most typical items
thumbnails.py  small pictures, read safely, within a budget of bytes
points.py      what the map's script reads, as compact JSON
markup.py      escaping, scripts and the content security policy
sections.py    facts and findings → HTML
page.py        `write_report`: all of it, in one file
assets/        style sheet and script of the page
"""

from .page import ReportOptions, ReportSummary, write_report

__all__ = ["ReportOptions", "ReportSummary", "write_report"]
