"""An emulator of the Azure services that the product uses, on real sockets and for the real SDKs.

``docs/azure-emulator.md`` lists the service's rules that it keeps to, where they come from, and every difference.
"""

from nbhd_local.azure.entra import Workload
from nbhd_local.azure.limits import Limits
from nbhd_local.azure.state import Delays
from nbhd_local.azure.world import AzureWorld

__all__ = ["AzureWorld", "Delays", "Limits", "Workload"]
