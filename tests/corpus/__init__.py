"""
The corpus: raw HTTP requests as hostile instances send them, each with the right
outcome, and what judges the proxy by them.

L{tests.corpus.runner} sends every case of C{corpus.json} (L{tests.corpus.cases})
through a proxy as L{tests.corpus.client}, with L{tests.corpus.recorder} in Nova's
place, and L{tests.corpus.judge} tells what is wrong with what it saw.
"""
