"""One self-contained report.html: blocks of plain data in, one file out."""
