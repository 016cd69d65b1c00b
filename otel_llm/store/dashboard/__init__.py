"""The local store as web pages: HTML written here, on the server; what serves it is the command's."""
