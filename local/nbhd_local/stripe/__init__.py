"""An emulator of Stripe: stateful, strict, with a Checkout page that works and signed event delivery."""

from .delivery import Delivery, DeliveryPolicy
from .errors import StripeError
from .lifecycle import CheckoutClosedError
from .world import StripeWorld

__all__ = ["CheckoutClosedError", "Delivery", "DeliveryPolicy", "StripeError", "StripeWorld"]
