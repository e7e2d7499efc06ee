"""A night's score task as a job of a Ray cluster, over HTTP; Ray itself is not installed here."""
