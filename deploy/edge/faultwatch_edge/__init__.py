"""Runs a signed Faultwatch bundle beside a machine: samples in, scores, events and alarms out.

The modules are the interface: ``from faultwatch_edge.agent import Agent``.

    bundle     the contract: what a bundle holds, reading and writing it
    detector   the exported graph behind ONNX Runtime
    grid       irregular samples to cells      window   cells to windows
    alarm      when an anomaly is an alarm     agent    all of the above in order
"""

__version__ = "0.1.0"
