"""Audits: data quality checks that a staged day has to pass before it is published."""
