"""A stand-in for OpenClaw that keeps the contract of its Telegram channel: ``python -m nbhd_local.openclaw``."""
