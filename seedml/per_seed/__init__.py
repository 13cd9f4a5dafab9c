"""Rows of one seed -> statistics. Pure functions: they know arrays, not files, trackers or Lightning."""
