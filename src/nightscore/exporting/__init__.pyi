from .conversion import Exported as Exported
from .model import export as export
