"""Invoices of subscriptions: made, finalized, paid or failed, each step with its events.

Called by `lifecycle`; the API only reads the results.
"""

from __future__ import annotations

from .account import Account, Json, new_id

_RETRY_AFTER = 3 * 24 * 3600


def open_invoice(account: Account, subscription: Json, *, reason: str) -> Json:
    """A finalized invoice for the subscription's present period; emits ``invoice.created`` and ``.finalized``."""
    invoice = _draft(account, subscription, reason)
    account.invoices[invoice["id"]] = invoice
    account.emit("invoice.created", invoice)
    customer = account.customers[invoice["customer"]]
    now = account.now()
    invoice |= {
        "status": "open",
        "effective_at": now,
        "number": f"{customer['invoice_prefix']}-{customer['next_invoice_sequence']:04}",
    }
    invoice["status_transitions"]["finalized_at"] = now
    customer["next_invoice_sequence"] += 1
    account.emit("invoice.finalized", invoice)
    subscription["latest_invoice"] = invoice["id"]
    return invoice


def pay(account: Account, invoice: Json) -> None:
    """Marks an open invoice as paid; emits ``invoice.paid`` and ``invoice.payment_succeeded``."""
    invoice |= {
        "amount_paid": invoice["amount_due"],
        "amount_remaining": 0,
        "attempt_count": invoice["attempt_count"] + 1,
        "attempted": True,
        "auto_advance": False,
        "ending_balance": 0,
        "next_payment_attempt": None,
        "status": "paid",
    }
    invoice["status_transitions"]["paid_at"] = account.now()
    _set_delinquent(account, invoice["customer"], delinquent=False)
    account.emit("invoice.paid", invoice)
    account.emit("invoice.payment_succeeded", invoice)


def fail(account: Account, invoice: Json) -> None:
    """Records one declined charge; emits ``invoice.payment_failed``."""
    invoice |= {
        "attempt_count": invoice["attempt_count"] + 1,
        "attempted": True,
        "next_payment_attempt": account.now() + _RETRY_AFTER,
    }
    _set_delinquent(account, invoice["customer"], delinquent=True)
    account.emit("invoice.payment_failed", invoice)


def void(account: Account, invoice: Json) -> None:
    """What happens to an open invoice of a subscription that is gone; emits ``invoice.voided``."""
    invoice |= {"status": "void", "auto_advance": False, "next_payment_attempt": None}
    invoice["status_transitions"]["voided_at"] = account.now()
    account.emit("invoice.voided", invoice)


def _set_delinquent(account: Account, customer_id: str, *, delinquent: bool) -> None:
    with account.update(account.customers[customer_id], "customer.updated") as customer:
        customer["delinquent"] = delinquent


def _draft(account: Account, subscription: Json, reason: str) -> Json:
    now = account.now()
    item = subscription["items"]["data"][0]
    customer = account.customers[subscription["customer"]]
    amount = item["price"]["unit_amount"] * item["quantity"]
    invoice_id = new_id("in_1", 23)
    invoice: Json = {
        "id": invoice_id,
        "object": "invoice",
        "account_country": "US",
        "account_name": "nbhd local",
        "account_tax_ids": None,
        "amount_due": amount,
        "amount_overpaid": 0,
        "amount_paid": 0,
        "amount_remaining": amount,
        "amount_shipping": 0,
        "application": None,
        "attempt_count": 0,
        "attempted": False,
        "auto_advance": True,
        "automatic_tax": {
            "disabled_reason": None,
            "enabled": False,
            "liability": None,
            "provider": None,
            "status": None,
        },
        "automatically_finalizes_at": None,
        "billing_reason": reason,
        "collection_method": "charge_automatically",
        "created": now,
        "currency": subscription["currency"],
        "custom_fields": None,
        "customer": customer["id"],
        "customer_account": None,
        "customer_address": None,
        "customer_email": customer["email"],
        "customer_name": customer["name"],
        "customer_phone": customer["phone"],
        "customer_shipping": None,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_payment_method": None,
        "default_source": None,
        "default_tax_rates": [],
        "description": None,
        "discounts": [],
        "due_date": None,
        "effective_at": None,
        "ending_balance": None,
        "footer": None,
        "from_invoice": None,
        "hosted_invoice_url": None,
        "invoice_pdf": None,
        "issuer": {"type": "self"},
        "last_finalization_error": None,
        "latest_revision": None,
        "lines": {
            "object": "list",
            "data": [_line(subscription, item, amount, invoice_id)],
            "has_more": False,
            "url": f"/v1/invoices/{invoice_id}/lines",
        },
        "livemode": False,
        "metadata": {},
        "next_payment_attempt": None,
        "number": None,
        "on_behalf_of": None,
        "parent": {
            "quote_details": None,
            "subscription_details": {
                "metadata": dict(subscription["metadata"]),
                "subscription": subscription["id"],
            },
            "type": "subscription_details",
        },
        "payment_settings": {
            "default_mandate": None,
            "payment_method_options": None,
            "payment_method_types": None,
        },
        "period_end": now,
        "period_start": now,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "receipt_number": None,
        "rendering": None,
        "shipping_cost": None,
        "shipping_details": None,
        "starting_balance": 0,
        "statement_descriptor": None,
        "status": "draft",
        "status_transitions": dict.fromkeys(("finalized_at", "marked_uncollectible_at", "paid_at", "voided_at")),
        "subtotal": amount,
        "subtotal_excluding_tax": amount,
        "test_clock": None,
        "total": amount,
        "total_discount_amounts": [],
        "total_excluding_tax": amount,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
        "webhooks_delivered_at": now,
    }
    return invoice


def _line(subscription: Json, item: Json, amount: int, invoice_id: str) -> Json:
    return {
        "id": new_id("il_1", 23),
        "object": "line_item",
        "amount": amount,
        "currency": subscription["currency"],
        "description": f"{item['quantity']} x {item['price']['nickname'] or item['price']['id']}",
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice_id,
        "livemode": False,
        "metadata": dict(subscription["metadata"]),
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": None,
                "subscription": subscription["id"],
                "subscription_item": item["id"],
            },
            "type": "subscription_item_details",
        },
        "period": {"end": item["current_period_end"], "start": item["current_period_start"]},
        "pretax_credit_amounts": [],
        "pricing": {"type": "price_details", "unit_amount_decimal": item["price"]["unit_amount_decimal"]},
        "quantity": item["quantity"],
        "quantity_decimal": str(item["quantity"]),
        "subscription": subscription["id"],
        "subtotal": amount,
        "taxes": [],
    }
