from . import choices as choices
from . import held as held
from . import model_cache as model_cache
from . import outcome as outcome
from . import reports as reports
from . import run_folder as run_folder
from . import trials as trials
