"""Published days held to what later versions know: which may be wrong, by which cause, on what evidence."""
