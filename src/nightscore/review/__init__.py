"""Published days, looked at again; nothing is written."""
