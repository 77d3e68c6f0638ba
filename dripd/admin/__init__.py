"""Who asks, in what words: the wire, the method table, roles."""
