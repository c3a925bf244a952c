"""An emulator of Telegram for one bot: a strict Bot API, the real server's webhook rules, and people to chat with."""

from .api import Call
from .limits import Limits
from .people import Line, NotSaidError, User
from .sender import Attempt, Tuning
from .world import TelegramWorld

__all__ = ["Attempt", "Call", "Limits", "Line", "NotSaidError", "TelegramWorld", "Tuning", "User"]
