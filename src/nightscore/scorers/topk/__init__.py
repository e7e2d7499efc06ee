"""User factors x item factors -> the best items of each row."""

from nightscore.scorers.topk.scorer import TopkScorer, open_topk

__all__ = ["TopkScorer", "open_topk"]
