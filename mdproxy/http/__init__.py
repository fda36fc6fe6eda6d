"""
HTTP/1.1 on both sides: what instances say to us and what we say to Nova.
"""
