"""The Kubernetes API of the product: its objects, how to reach them, and the names and credentials derived from them.

Every service imports this package and no other of ours; what passes between services is the Tenant.
"""
