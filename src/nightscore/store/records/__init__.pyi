from . import deliveries as deliveries
from . import erasures as erasures
from . import keyed_hash as keyed_hash
from . import outgoing as outgoing
from . import record_rows as record_rows
from . import removals as removals
from . import renames as renames
