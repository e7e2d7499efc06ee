from .retention import apply_retention as apply_retention
from .retention import find_due as find_due
