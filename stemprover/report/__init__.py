"""Pictures and pages of what was found and what was done."""

from stemprover.report.inputs import AudioSource, ReportInput, SourceFormat
from stemprover.report.page import write_html
from stemprover.report.plot import plot_png

__all__ = ["AudioSource", "ReportInput", "SourceFormat", "plot_png", "write_html"]
