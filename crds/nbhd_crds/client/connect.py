"""Reaching the API server: from a kubeconfig where one is given, else as the Pod's ServiceAccount."""

from __future__ import annotations

from pathlib import Path

from kubernetes.aio import client, config


async def connect(kubeconfig: Path | None, context: str | None = None) -> client.ApiClient:
    """An API client, by the kubeconfig's current context unless another is named; the caller closes it.

    Raises ``kubernetes.aio.config.ConfigException`` without a usable config.
    """
    configuration = client.Configuration()
    if kubeconfig is not None:
        await config.load_kube_config(  # type: ignore[no-untyped-call] # untyped upstream
            config_file=str(kubeconfig), context=context, client_configuration=configuration
        )
    else:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call] # upstream
    return client.ApiClient(configuration)
