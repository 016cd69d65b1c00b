"""Small real servers on loopback that the tests talk to instead of mocks."""
