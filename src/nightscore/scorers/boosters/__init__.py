"""Models of boosted trees in the files of the libraries that trained them, scored by those libraries.

A library is imported by its name when a model is opened (`booster.find_library`), and nowhere else.
"""
