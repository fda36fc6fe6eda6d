"""
What operators may see, on an endpoint that no instance can reach.
"""
