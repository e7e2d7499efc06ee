"""The bake-off: candidates for a job's model, made, measured on this machine, and one of them taken.

    workload -> candidates -> worker (a process each) -> yardstick, stress -> contestants -> results

`runner.py` strings these together.
"""

from nightscore.evaluation.bakeoff.results import CandidateResult
from nightscore.evaluation.bakeoff.runner import BakeOff, apply_bakeoff, run_bakeoff

__all__ = ["BakeOff", "CandidateResult", "apply_bakeoff", "run_bakeoff"]
