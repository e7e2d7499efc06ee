from . import text as text
from .explain import explain_row as explain_row
from .late_data import LateDay as LateDay
from .late_data import find_late_days as find_late_days
from .rejects import summarize_rejects as summarize_rejects
from .report.data import gather_facts as gather_facts
from .report.html import open_templates as open_templates
from .verify import verify_days as verify_days
