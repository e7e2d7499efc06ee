"""Images: PNG and JPEG bytes before a model, as the job or its Hugging Face folder says."""
