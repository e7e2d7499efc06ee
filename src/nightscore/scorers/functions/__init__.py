"""Functions as scorers, of installed packages and of the workspace."""
