"""Takes over collections that somebody else made: writes them down as code, checks their vectors, and brings them behind an alias of ours.

written.py     a declaration as the text of a schema file
pulling.py     a live collection as that text
dictionary.py  declarations as a Markdown page for people
proving.py     whether the stored vectors are the declared encoder's
adopting.py    in place, and by copy
"""
