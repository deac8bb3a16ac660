"""The contract between software and gateware: formats, network shapes, protocol, digest.

Standard library only, so that either side can import it in milliseconds.
"""
