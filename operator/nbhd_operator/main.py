"""``nbhd-operator``: settings, logs, and kopf with our handlers."""

from __future__ import annotations

import gc
import logging

import kopf

from nbhd_crds import logs
from nbhd_crds.settings import load
from nbhd_operator.handlers import kopf_settings, registry
from nbhd_operator.runtime import Runtime
from nbhd_operator.settings import OperatorSettings

log = logging.getLogger(__name__)


def main() -> None:
    """Runs until a signal.

    Exits with status 2 and one line on stderr when a setting is missing or malformed, and with 1 when it cannot go on,
    so that whoever supervises it starts it again: kopf ends by itself on some faults of the API server.
    """
    settings = load(OperatorSettings)
    logs.configure(settings.log_level)
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # one line for every event otherwise
    gc.freeze()  # what was imported stays: looking through it again and again costs more than all that comes
    runtime = Runtime(settings)
    try:
        _run(settings, runtime)
    except Exception as error:
        log.error("the operator cannot go on", extra={"error": repr(error)})
        raise SystemExit(1) from None
    if runtime.failed:
        raise SystemExit(1)


def _run(settings: OperatorSettings, runtime: Runtime) -> None:
    kopf.run(
        registry=registry(settings, runtime),
        settings=kopf_settings(),
        standalone=True,
        clusterwide=not settings.namespace,
        namespaces=[settings.namespace] if settings.namespace else [],
    )


if __name__ == "__main__":
    main()
