"""Running a cell: plan, worker, engine, record."""
