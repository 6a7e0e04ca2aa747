"""What a link does to what is sent over it."""
