"""Studies: several cells that belong together, what they will cost and what they could show."""
