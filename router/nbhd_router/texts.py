"""Every sentence that the bot says itself.

Each one says what happened and what to do next. The terms for bots let us link to the account page and nothing else: no
sentence here speaks of money, and a test holds the catalogue to that.
"""

from __future__ import annotations

import datetime
from enum import Enum


class Text(Enum):
    """The catalogue. ``{link}`` is the account page, ``{account}`` its short code, ``{until}`` a date."""

    WELCOME = (
        "Hello! Each person here talks to an assistant of their own, so this chat has to be connected to an account"
        " first. Open your account page and follow the link to this chat: {link}"
    )
    WELCOME_BACK = "Hello again! This chat is connected to account {account}. Just write to your assistant."
    HELP = (
        "Write to your assistant in your own words; text, photos, voice messages and files all work. If an answer"
        " stays away, or to change or disconnect this chat, open your account page: {link}"
    )
    SUPPORT = "Questions about your account are answered on your account page. Open it here: {link}"
    TERMS = "The terms of service are on our website. Read them here: {link}"
    PRIVACY = (
        "Your messages go to an assistant that runs for you alone and are not shared with other people. Read the"
        " privacy policy, and how to have your data deleted, on our website: {link}"
    )
    NOT_LINKED = (
        "This chat is not connected to an account, so nobody received your message. Open your account page and follow"
        " the link to this chat: {link}"
    )
    AWAITING_ACCOUNT = (
        "This chat is connected, but the account is not active yet, so your message was not delivered. See what is"
        " missing on your account page, then write again: {link}"
    )
    PREPARING = (
        "Your assistant is being set up. Your message is kept and delivered as soon as it is ready, usually within a"
        " few minutes; you need not send it again."
    )
    WAKING = (
        "Your assistant was asleep and is waking up. Your message is kept and answered in a moment; you need not send"
        " it again."
    )
    SUSPENDED = (
        "Your assistant is paused, so your message was not delivered. Open your account page to see why, then write"
        " again: {link}"
    )
    ENDED = (
        "This chat's account is closed, so your message was not delivered. To start again, open your account page:"
        " {link}"
    )
    TROUBLE = (
        "Something is wrong with your assistant's set-up and we have to repair it. Your message was not delivered;"
        " look at your account page for news and write again later: {link}"
    )
    NOT_DELIVERED = (
        "Your assistant could not be reached, so your message was not delivered. Please send it again in a few"
        " minutes; if that does not help, look at your account page: {link}"
    )
    NOT_ACCEPTED = (
        "Your assistant could not read your last message, so it was left out. Please send it in another form, for"
        " example shorter or as plain text."
    )
    TOO_MANY = (
        "Too many of your messages are waiting, so the newest ones were left out. Please wait for your assistant's"
        " answer and send them again."
    )
    GRACE = (
        "Something about your account needs your attention. Your assistant goes on working until {until}; see on your"
        " account page what to do before then: {link}"
    )
    PAUSED = (
        "Your assistant is paused now and does not answer; nothing is deleted. To get it back as it was, open your"
        " account page: {link}"
    )
    SETTLED = (
        "All is well with your account again, and your assistant went on working all the time. You need not do"
        " anything; just write."
    )
    RESUMED = "Your assistant works again, and nothing was lost. Just write to it as before."
    ENDING = (
        "Your account is set to end on {until}, and your assistant works until then. If you change your mind, open"
        " your account page before that day: {link}"
    )
    CLOSED = (
        "Your account has ended and your assistant is closed. Its data is kept until {until}; if you want it back,"
        " open your account page by then: {link}"
    )
    CLOSED_FOR_GOOD = (
        "Your account has ended, your assistant is closed and its data is not kept any longer. To start afresh, open"
        " your account page: {link}"
    )
    WELCOME_AGAIN = (
        "Welcome back: your account is active again and your assistant is being made ready. Write your next message"
        " now; it is answered as soon as that is done."
    )
    CONFIRM = (
        "Connect this chat to account {account}? Compare this with the code on the page where you opened the link."
        ' If they differ, or if somebody else sent you the link, press "Not me".'
    )
    CONNECTED = (
        "Done: this chat is now connected to account {account}. Your assistant is being set up; write your first"
        " message now and it is answered as soon as it is ready."
    )
    CONNECTED_INACTIVE = (
        "Done: this chat is now connected to account {account}. The account is not active yet; see what is missing on"
        " your account page: {link}"
    )
    ALREADY_CONNECTED = "This chat is already connected to account {account}. Just write to your assistant."
    DECLINED = "Nothing was connected. To connect your own account, open your account page and use its link: {link}"
    LINK_BROKEN = (
        "This link is not complete or not from us, so nothing was connected. Open your account page and use the link"
        " there: {link}"
    )
    LINK_EXPIRED = (
        "This link is too old, so nothing was connected. Open your account page for a fresh one, and use it within"
        " 15 minutes: {link}"
    )
    LINK_USED = (
        "This link was used already, so nothing was connected this time. If it was not you who used it, open your"
        " account page and make a new one: {link}"
    )
    LINK_NO_ACCOUNT = (
        "The account of this link no longer exists, so nothing was connected. Open your account page to start again:"
        " {link}"
    )
    LINK_OTHER_PERSON = (
        "This button was made for somebody else, so nothing was connected. Open your account page and use your own"
        " link: {link}"
    )
    CHAT_TAKEN = (
        "This chat is already connected to another account, {account}, so nothing was changed. Disconnect it on that"
        " account's page first, then use the link again: {link}"
    )
    NO_GROUPS = (
        "An assistant can only be connected in a private chat, so nothing was connected here. Open the link again and"
        " choose your own chat with this bot."
    )
    TOO_MANY_TRIES = "That were too many links that do not work. Please wait ten minutes, then use a fresh one: {link}"
    TRY_LATER = (
        "We could not connect this chat just now, and nothing was changed. Please press the link again soon: {link}"
    )

    BUTTON_CONNECT = "Connect"
    BUTTON_NOT_ME = "Not me"


class Texts:
    """The catalogue with the account page's address filled in."""

    def __init__(self, frontend_url: str) -> None:
        self._link = frontend_url

    def say(self, text: Text, account: str = "", until: datetime.datetime | None = None) -> str:
        """The sentence; ``account`` is a short code made by ``account_code``."""
        date = f"{until.day} {until:%B %Y}" if until else "further notice"
        return text.value.format(link=self._link, account=account, until=date)
