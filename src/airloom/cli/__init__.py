"""The `airloom` command: one file per subcommand."""
