"""The gateway: recommendations over HTTP."""
