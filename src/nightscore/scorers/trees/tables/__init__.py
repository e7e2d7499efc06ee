"""A forest as the tables that the kernel runs through: `building` puts them together, of parts.

How rows find their leaf depends on the tree. In one whose levels each ask one question (`oblivious`), the
answers are the bits of the leaf's number. Another small tree is a list of choices (`choices`): for every row,
children before parents, each condition chooses one of the leaf numbers that its two sides have come to. That
takes as many steps as a tree has conditions, but a step of both is for 64 rows, and nothing has to be guessed
by the processor. In a large tree rows walk (`walks`).
"""

from nightscore.scorers.trees.tables.building import Tables, tables

__all__ = ["Tables", "tables"]
