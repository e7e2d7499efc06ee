"""Texts: the tokenizer before a model, as its metadata or its Hugging Face folder say it."""
