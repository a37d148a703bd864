"""Readers of foreign bytes, one target each, for a coverage-guided fuzzer (atheris, which is libFuzzer for Python).

``make fuzz`` runs them; `tests/unit/test_fuzz.py` gives each its seeds and what was found once. Nothing of spyglass is
imported here: the fuzzer counts only modules that are imported after it.
"""
