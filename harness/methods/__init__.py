"""What several aligners share and what needs no model: fields, schedules, sums, the search for a marker."""
