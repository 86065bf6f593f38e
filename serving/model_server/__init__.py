"""The embedded model server: TF Serving's gRPC and REST APIs over SavedModels, for one machine without TF Serving.

Clients are written against TF Serving and cannot tell the difference: names, versions, labels, states, formats and
errors are its own. `serving.model_server.server.ModelServer` is the server; `python -m serving.model_server` runs it.
"""
