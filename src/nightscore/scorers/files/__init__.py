"""A model's file: its bytes and hash, the graph in it, and what a file is that is none."""
