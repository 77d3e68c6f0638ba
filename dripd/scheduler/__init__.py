"""When it comes up: the wheel, due arithmetic, calendars, fair share, backoff."""
