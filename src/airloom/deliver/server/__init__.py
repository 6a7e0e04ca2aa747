"""Progressive models over HTTP: which configuration to fetch, and its chunks (docs/serving-models.md).

    serve(ServerSettings(folders=(Path("artifact"),), port=8443, ...))

Files here: `settings` what can be chosen, `shelf` and `release` the folders, `cache` chunks in memory, `tokens` who may
ask, `rates` how fast clients are, `ranges` and `bodies` parts of files as answers, `front` what holds for every
request, `app` the endpoints, `connection` what a connection may cost, `serving` sockets and signals.
"""
