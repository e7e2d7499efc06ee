"""The finance jobs on real prices: their lake, their models, their risk numbers."""
