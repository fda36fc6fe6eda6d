"""
What Keystone's and Neutron's own environment runs.
"""
