"""The Datumaro transforms: arguments in, the work of other rooms, items out.

Datumaro builds a transform lazily, swallows what its constructor raises and saves the dataset all
the same; so arguments are checked when they are parsed, and everything else happens on iteration.
Nothing is imported here: Datumaro loads each module when its transform is first asked for.
"""
