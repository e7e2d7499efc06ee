"""The dossier of a job: its model document and the record of its nights, in one page for a validator."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
