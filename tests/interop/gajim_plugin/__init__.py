# Gajim takes the first name it finds here for the plugin's class, so nothing else may stand here.
from .plugin import Interop  # noqa: F401
