"""Reasons of conditions that one module writes and another one reads. People see them; they never change."""

from __future__ import annotations

PROVISIONING_FAILED = "ProvisioningFailed"
NO_ANSWER = "NoAnswer"
CORES_EXHAUSTED = "CoresExhausted"
# Of UpToDate:
APPLIED = "Applied"
APPLYING = "Applying"
ROLLING_OUT = "RollingOut"
"""From the moment that a container is made from another runtime until it has come up."""
WAITING_FOR_TURN = "WaitingForTurn"
PLANNED = "Planned"
DRIFTED = "Drifted"
SKIPPED = "Skipped"
# Of a Plan:
ROLLOUT_STOPPED = "RolloutStopped"
