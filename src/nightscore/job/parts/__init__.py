"""The parts of a job.yaml, a model each; spec puts them together."""
