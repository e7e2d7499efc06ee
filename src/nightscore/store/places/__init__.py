"""Places below `data/`, a module each: what is written there, and how; room for a later `Store` protocol."""
