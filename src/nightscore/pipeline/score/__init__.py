"""One piece of a day: a model opened, rows checked and scored."""
