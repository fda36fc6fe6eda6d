"""
The lab: real servers and real clients around the proxy, in network namespaces.
"""
