from .drop import drop_job as drop_job
from .drop import drop_table as drop_table
from .retention import apply_retention as apply_retention
from .retention import find_due as find_due
