"""Scorers: one chunk of rows in, one chunk of predictions out. They know nothing of jobs."""
