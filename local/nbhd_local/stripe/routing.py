"""What a resource module hands to `api`: routes, and the call that a route's handler gets.

Also Stripe's list pages, which every resource shares.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from . import params
from .account import Account, Json


@dataclass(frozen=True)
class Call:
    """One authenticated request with its parameters still unread."""

    path: dict[str, str]
    raw: Json
    pages_url: str = ""


Handler = Callable[[Account, Call], Json]


@dataclass(frozen=True)
class Route:
    """A handler for a method and a path pattern such as ``/v1/customers/{id}``."""

    method: str
    path: str
    handler: Handler


@dataclass(frozen=True)
class Listing:
    """How one kind of object is listed: its collection, filters, and the URL that Stripe repeats in the page."""

    collection: str
    url: str
    filters: dict[str, params.Parser] = field(default_factory=dict)

    def read(self, call: Call) -> Json:
        """The parameters of a list request: the filters, ``created`` and the cursor."""
        return params.read(
            call.raw,
            {
                **self.filters,
                "created": params.span,
                "limit": params.integer(1, 100),
                "starting_after": params.text,
                "ending_before": params.text,
            },
        )

    def page(self, account: Account, given: Json, *, keep: Callable[[Json], bool]) -> Json:
        """One page, newest first, of the objects that ``keep`` accepts."""
        newest_first = list(reversed(account.collection(self.collection).values()))
        ids = [found["id"] for found in newest_first]
        created = given.get("created", lambda _moment: True)
        limit = given.get("limit", 10)
        backwards = "ending_before" in given
        if backwards:
            account.get(self.collection, given["ending_before"], param="ending_before", in_path=False)
            window: Iterable[Json] = reversed(newest_first[: ids.index(given["ending_before"])])
        elif "starting_after" in given:
            account.get(self.collection, given["starting_after"], param="starting_after", in_path=False)
            window = newest_first[ids.index(given["starting_after"]) + 1 :]
        else:
            window = newest_first
        matching = [found for found in window if not found.get("deleted") and created(found["created"]) and keep(found)]
        chosen = matching[:limit]
        return page(chosen[::-1] if backwards else chosen, self.url, has_more=len(matching) > limit)


def page(data: list[Json], url: str, *, has_more: bool = False) -> Json:
    """A list object."""
    return {"object": "list", "data": data, "has_more": has_more, "url": url}


def matches(found: Json, given: Json, *names: str) -> bool:
    """Whether the object has the given values in these members; a filter that was not given matches all."""
    return all(found[name] == given[name] for name in names if name in given)
