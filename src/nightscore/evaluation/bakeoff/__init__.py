"""The bake-off: candidates for a job's model, made, measured on this machine, and one of them taken.

    ground -> candidates -> trial (a process each) -> differ -> finals -> pick -> outcome

`src/nightscore/evaluation/bakeoff/runner.py` strings these together; a newcomer reads that.
"""

from nightscore.evaluation.bakeoff.outcome import BakeOff, apply
from nightscore.evaluation.bakeoff.results import Result
from nightscore.evaluation.bakeoff.runner import bakeoff

__all__ = ["BakeOff", "Result", "apply", "bakeoff"]
