"""One day of a job."""
