"""What a job.yaml may say; light to import."""
