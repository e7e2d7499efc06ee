"""The retail job on real data: its lake, its features, its model, its decision."""
