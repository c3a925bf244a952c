"""``python -m nbhd_local``: see ``main.py``."""

from nbhd_local.main import main

main()
