"""What a host does, as a state machine: events in, effects out. No sockets, no clock, no torch."""
