from . import choices as choices
from . import model_cache as model_cache
from . import reports as reports
from . import tables as tables
from . import trials as trials
