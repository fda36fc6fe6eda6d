"""
Tests with the real Keystone and the real Neutron; C{script/test-long} runs them.
"""
