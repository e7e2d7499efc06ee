from .draft import Draft as Draft
from .draft import draft_job as draft_job
from .new_files import write_new_files as write_new_files
from .samples import DAYS as DAYS
from .workspace import TEMPLATES_BY_NAME as TEMPLATES_BY_NAME
from .workspace import Template as Template
from .workspace import dag_files as dag_files
from .workspace import make_workspace as make_workspace
