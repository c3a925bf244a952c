"""The Azure resources of one tenant, one file a kind. Creating walks ``ORDER``, removing walks it back."""

from nbhd_operator.resources.base import Resource
from nbhd_operator.resources.container_app import ContainerApp
from nbhd_operator.resources.identity import Identity
from nbhd_operator.resources.role_assignment import RoleAssignment
from nbhd_operator.resources.secret import Secret

ORDER: tuple[Resource, ...] = (Identity(), Secret(), RoleAssignment(), ContainerApp())
# Teardown differs in one thing: the assignment goes before the secret that is its scope, which this order gives.

__all__ = ["ORDER", "ContainerApp", "Identity", "RoleAssignment", "Secret"]
