from bodydouble.api.avatars import Avatar as Avatar
from bodydouble.api.avatars import Performance as Performance
from bodydouble.api.avatars import Posed as Posed
from bodydouble.api.avatars import load as load
from bodydouble.api.runs import Run as Run
from bodydouble.api.runs import create as create
from bodydouble.api.runs import demo as demo
from bodydouble.api.runs import open_run as open_run

__version__: str
__all__ = ["Avatar", "Performance", "Posed", "Run", "__version__", "create", "demo", "load", "open_run"]
