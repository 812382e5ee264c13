"""Data sets: what tasks and pools both read. Neither imports the other; both import from here."""
