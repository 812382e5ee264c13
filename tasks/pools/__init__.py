"""Where labels come from: one file per pool."""
