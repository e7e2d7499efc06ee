"""The inputs of a day: listed, held steady, scanned."""
