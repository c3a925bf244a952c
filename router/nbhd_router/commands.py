"""What the router answers itself: ``/start`` and the other commands of the platform, and its own buttons.

``dispatch`` hands over the lane of such updates; ``linking`` decides about links.
"""

from __future__ import annotations

from nbhd_crds.identity import account_code
from nbhd_router import confirmation, update
from nbhd_router.directory import Directory, State
from nbhd_router.errors import TryLaterError
from nbhd_router.linking import Linking
from nbhd_router.notices import Notices
from nbhd_router.texts import Text
from nbhd_router.update import CallbackQuery, Message

_PAGES = {
    "/help": Text.HELP,
    "/paysupport": Text.SUPPORT,
    "/terms": Text.TERMS,
    "/privacy": Text.PRIVACY,
}
_GREETINGS = {
    State.NOT_LINKED: Text.WELCOME,
    State.AWAITING_PAYMENT: Text.AWAITING_ACCOUNT,
    State.SUSPENDED: Text.PAUSED,
    State.ENDED: Text.ENDED,
    State.STALLED: Text.TROUBLE,
}


class Commands:
    """Answers one update at a time."""

    def __init__(self, linking: Linking, directory: Directory, notices: Notices) -> None:
        self._linking = linking
        self._directory = directory
        self._notices = notices

    async def answer(self, body: bytes) -> None:
        """Answers an update of ours. Raises ``TelegramError`` or ``TryLaterError``: ask again."""
        found = update.decode(body)
        if found.message is not None:
            await self._command(found.message)
        elif found.callback_query is not None:
            await self._button(found.callback_query)

    async def _command(self, message: Message) -> None:
        chat = message.chat
        word, payload = update.command(message.text)
        if chat.type != "private":
            await self._notices.tell(chat.id, Text.NO_GROUPS)
        elif word != "/start":
            await self._notices.answer(chat.id, _PAGES[word])
        elif payload and message.from_ is not None:
            reply = self._linking.open(payload, chat.id, message.from_.id)
            buttons = ((Text.BUTTON_CONNECT, reply.confirm), (Text.BUTTON_NOT_ME, confirmation.DECLINE))
            await self._notices.answer(
                chat.id, reply.text, account=reply.account, buttons=buttons if reply.confirm else ()
            )
        else:
            route = self._directory.route(chat.id)
            if route.state is State.UNKNOWN:
                raise TryLaterError("directory")
            greeting = _GREETINGS.get(route.state, Text.WELCOME_BACK if route.spec_id else Text.PREPARING)
            await self._notices.answer(chat.id, greeting, account=account_code(route.spec_id))

    async def _button(self, query: CallbackQuery) -> None:
        message = query.message
        if message is None or message.chat.id != query.from_.id:
            await self._notices.answer_query(query.id)  # our buttons stand in private chats only
            return
        chat = message.chat.id
        if query.data == confirmation.DECLINE:
            text, account = Text.DECLINED, ""
        else:
            reply = await self._linking.confirm(query.data or "", chat, query.from_.id)
            text, account = reply.text, reply.account
            self._notices.forget(chat)
        await self._notices.answer_query(query.id)
        await self._notices.remove_buttons(chat, message.message_id)
        await self._notices.answer(chat, text, account=account)
