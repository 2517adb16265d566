"""The sections of a run's report.html that need nothing but the files of its run folder."""
