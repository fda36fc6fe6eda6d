"""
Tests: one module for each module of mdproxy, and the lab.
"""
