"""The bake-off: candidates for a job's model, made, measured on this machine, and one of them taken.

    ground -> candidates -> trial (a process each) -> differ -> finals -> pick -> outcome

`jobs/bakeoff/contest.py` strings these together; a newcomer reads that.
"""

from jobs.bakeoff.contest import bakeoff
from jobs.bakeoff.outcome import BakeOff, apply
from jobs.bakeoff.pick import Result

__all__ = ["BakeOff", "Result", "apply", "bakeoff"]
