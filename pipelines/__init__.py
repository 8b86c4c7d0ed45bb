"""Flows, storage, tracking and the command line."""
