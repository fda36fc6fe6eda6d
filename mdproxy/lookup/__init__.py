"""
Who is asking: the books of facts, the decision table, and the lookup that joins them.
"""
