"""Bytes to events and back: frames, blocks, sealing, repair. No sockets and no clock."""
