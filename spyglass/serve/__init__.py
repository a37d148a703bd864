"""``spyglass serve``: what the commands show, over HTTP. Needs the extra ``spyglass[serve]``."""
