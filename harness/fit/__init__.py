"""Fitting: the bench, its phases, log, selection and search."""
