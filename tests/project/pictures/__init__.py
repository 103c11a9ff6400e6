"""The pictures of docs/how-it-works.md, each drawn from what it shows: the table of floors, a real
compilation, real messages, a real layout. A test holds the files to the tree.
"""
