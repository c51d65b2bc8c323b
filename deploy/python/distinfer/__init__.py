"""Serve an ONNX model across machines: the command, and a client of a front.

    from distinfer import Client

    client = Client("http://localhost:8008")
    client.predict(["a moving film"])[0][0]["label"]
"""

from .client import Client, Entity, Error, Label

__all__ = ["Client", "Entity", "Error", "Label"]
