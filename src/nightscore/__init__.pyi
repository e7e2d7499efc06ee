from .common.errors import Broken as Broken
from .common.errors import NotYet as NotYet
from .common.workspace import Workspace as Workspace
from .common.workspace import open_workspace as open_workspace
from .exporting.model import export as export
from .job.loader import Job as Job
from .job.loader import load as load
from .job.loader import load_all as load_all
from .pipeline.executors import Executor as Executor
from .pipeline.executors import InOrder as InOrder
from .pipeline.executors import Threads as Threads
from .pipeline.executors import backfill as backfill
from .pipeline.executors import run as run
from .pipeline.request import RunRequest as RunRequest
from .pipeline.steps import features as features
from .review.report.html import report as report
from .store.documents.plan import Restate as Restate
from .store.documents.receipt import Receipt as Receipt
from .store.published.catalog import query as query

__version__: str
