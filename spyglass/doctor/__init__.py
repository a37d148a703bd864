"""What this host allows and refuses: found out by trying it on processes of our own, where that does no harm."""

from __future__ import annotations

from spyglass.doctor.host import examine

__all__ = ["examine"]
