"""Catalogs: repositories of stack templates, read into templates, versions and questions, and answers into stack files.

Pure: what lies in a repository comes through a function that reads one of its files. How the repository gets here is
:mod:`remuda.control.catalogs`' business, what the files mean is :mod:`remuda.compose`'s.
"""
