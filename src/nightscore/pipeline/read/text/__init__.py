"""CSV and JSON lines of an input, and the lines that can not be read."""
