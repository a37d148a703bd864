"""What is tried in a machine, by pytest; each file ``check_NAME.py`` is a group that machines choose."""
