"""Write-audit-publish: what was staged is reconciled, decided, audited, and only then committed."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
