"""
What runs inside the real Nova of the lab, under that environment's own interpreter.
"""
