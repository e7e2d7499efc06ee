"""Smaller and quicker models out of a model: graphs, quantization, pruning, distillation."""
