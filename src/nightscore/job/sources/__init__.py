"""What a job reads: inputs, and which folders or files are their days."""
