"""What is remembered: keys and records, in tables that any SQL database can hold.

`Storage` is what is open; `engine.open_storage` opens it.
"""
