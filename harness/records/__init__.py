"""What a finished cell leaves: its schema, its rows, its store, its provenance."""
