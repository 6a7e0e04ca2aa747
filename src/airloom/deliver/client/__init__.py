"""What fetches a progressive model: a cache on disk, transports, trust. Runs where there is no torch."""
