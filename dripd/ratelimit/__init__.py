"""How fast: token buckets, daily caps."""
