"""Who commands: thin click commands over the socket."""
