"""SQL and model held to what training expects: files of the training script, before a day is published."""
