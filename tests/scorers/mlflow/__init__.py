"""Folders of models that MLflow saved."""
