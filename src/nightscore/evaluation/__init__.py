"""Candidates against a reference."""
