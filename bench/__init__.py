"""
How fast the proxy is, against what operators run, on the same machine in one run.
"""
