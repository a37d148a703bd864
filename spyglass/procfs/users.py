"""Names of users."""

from __future__ import annotations

from functools import lru_cache

__all__ = ["user_name"]


@lru_cache(maxsize=1024)
def user_name(uid: int) -> str:
    """The name of user `uid` on this host, the number itself if it has none here."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OSError, OverflowError):
        return str(uid)
