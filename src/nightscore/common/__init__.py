"""Needs nothing of ours, and nothing heavy."""
