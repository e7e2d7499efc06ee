from .due import Due as Due
from .eta import expected_end as expected_end
from .eta import usual_seconds as usual_seconds
from .logbook import DayState as DayState
from .logbook import Logbook as Logbook
from .logbook import open_logbook as open_logbook
from .tonight import DueNight as DueNight
from .tonight import list_due_nights as list_due_nights
