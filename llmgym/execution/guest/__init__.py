"""The program that runs inside a sandbox, sent there as source: every file here is standard library only.

It may meet any Python from 3.9 on, so no newer syntax is used.

`bundle` is the exception: it runs on the host, and is not sent.
"""
