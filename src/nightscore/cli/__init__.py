"""The commands of `nightscore`, one function each: read the options, call the package, show the result.

What is heavy (DuckDB, ONNX Runtime, Arrow, rich) is imported by the command that needs it, so that
`nightscore --help` is there at once.
"""
