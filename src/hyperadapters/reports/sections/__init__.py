"""The sections of a report, one module each: which tables, notes and figures results give."""
