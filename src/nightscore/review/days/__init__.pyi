from .due import Due as Due
from .logbook import DayState as DayState
from .logbook import Logbook as Logbook
from .logbook import open_logbook as open_logbook
from .punctual import list_deadlines as list_deadlines
from .punctual import watched_days as watched_days
from .tonight import DueNight as DueNight
from .tonight import list_due_nights as list_due_nights
