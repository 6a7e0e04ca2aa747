"""Does what the engine decides: sockets, zenoh, processes, real time."""
