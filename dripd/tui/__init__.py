"""The console: a process of its own that knows nothing but the daemon's socket."""
