"""
Inventories: providers of ports.
"""
