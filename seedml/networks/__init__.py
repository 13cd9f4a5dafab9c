"""Networks of other people as measuring needs them: how their weights are read, and how pictures are prepared for them.

What they are good for is said in ``features/`` and ``attributes/``, one file each.
"""
