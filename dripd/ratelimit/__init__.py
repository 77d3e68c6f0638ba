"""How fast: token buckets, caps, gaps, warm-up, breakers, retry budgets."""
