"""The values that flow through Airloom: no I/O, no torch, nothing that changes after it is made."""
