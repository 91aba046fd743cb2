"""What a line of a log says: from raw bytes to events, program by program."""
