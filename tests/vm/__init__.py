"""Debian's own kernels in a box: what spyglass does on other kernels, and on arm64 as it runs.

`machines` names them, `image` makes their files, `boot` runs one with qemu, `guest` is what is tried in it.
"""
