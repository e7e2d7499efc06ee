from .bakeoff.results import CandidateResult as CandidateResult
from .judge import Judgement as Judgement
from .judge import Verdict as Verdict
from .judge import judge_challengers as judge_challengers
from .promote import promote_model as promote_model
