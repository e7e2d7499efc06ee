"""The questions that a day has to pass before it is published."""
