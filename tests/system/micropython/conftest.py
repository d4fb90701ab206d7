"""These files are run by MicroPython, not collected."""

collect_ignore_glob = ["*.py"]
