"""Compares what an experiment saw with what the same experiment saw on a real control plane.

What is allowed comes from the record; the only constants are the periods of `times.py`.
"""
