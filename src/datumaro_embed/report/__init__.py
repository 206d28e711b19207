"""`datumaro-embed report`: one self-contained HTML file about a store.

The modules gather facts and findings; the Jinja2 templates in ``assets`` draw them, with the style
sheet and the script beside them. `page.write_report` puts all of it into one file.
"""

from .page import ReportOptions, ReportSummary, templates, write_report
from .thumbnails import thumbnails

__all__ = ["ReportOptions", "ReportSummary", "templates", "thumbnails", "write_report"]
